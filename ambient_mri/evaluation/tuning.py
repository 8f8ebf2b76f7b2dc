"""The strength of a method, tuned on the validation split: a hill climb on a logarithmic grid."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ambient_mri.evaluation.scoring import Batch, Scores
from ambient_mri.reconstruction import methods

STEPS_PER_DECADE = 8
LOWEST, HIGHEST = 1e-8, 1e3


def tune(score: Callable[[float], float], start: float) -> tuple[float, list[tuple[float, float]]]:
    """The strength of highest `score`, and every (strength, score) tried, in order of strength.

    The grid is start · 10^(k/8). From `start` it climbs in half decades until both neighbours are
    worse, then in quarters and eighths: the best is interior, unless it is a limit of 1e-8 or 1e3
    (noiseless data have their best fit at zero). Scores are taken to have one maximum.
    """
    tried: dict[int, float] = {}

    def at(k: int) -> float:
        if k not in tried:
            strength = start * 10 ** (k / STEPS_PER_DECADE)
            tried[k] = score(strength) if LOWEST <= strength <= HIGHEST else -float("inf")
        return tried[k]

    best, step = 0, STEPS_PER_DECADE // 2
    while step:
        neighbour = max((best - step, best + step), key=at)
        if at(neighbour) > at(best):
            best = neighbour
        else:
            step //= 2
    curve = [(start * 10 ** (k / STEPS_PER_DECADE), tried[k]) for k in sorted(tried) if tried[k] > -float("inf")]
    return start * 10 ** (best / STEPS_PER_DECADE), curve


@dataclass(frozen=True)
class Tuned:
    """The strength of the highest PSNR on the validation split, that PSNR, and all that were tried."""

    strength: float | None
    psnr: float
    curve: tuple[tuple[float, float], ...]


def tuned_on(held: Sequence[Batch], name: str, run: methods.Reconstruct, quick: methods.Reconstruct) -> Tuned:
    """The method called `name`; strengths are compared by `quick`, the figure is that of `run`."""

    def score(strength: float | None, run: methods.Reconstruct = quick) -> float:
        scores = Scores(("psnr",))
        for batch in held:
            image = run(batch.measurement, strength).abs().cpu()
            scores.add(batch.measurement.scan_ids, batch.patients, batch.truth, image)
        scores.close()
        return scores.mean("psnr")

    if not methods.has_strength(name):
        return Tuned(None, score(None, run), ())
    strength, curve = tune(score, methods.TYPICAL[name])
    best = score(strength, run) if name in methods.POSTERIOR else max(figure for _, figure in curve)
    return Tuned(strength, best, tuple(curve))

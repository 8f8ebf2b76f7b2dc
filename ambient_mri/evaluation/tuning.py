"""The strength of a method, tuned on the validation split: a hill climb on a logarithmic grid."""

from __future__ import annotations

from collections.abc import Callable

STEPS_PER_DECADE = 8
LOWEST, HIGHEST = 1e-8, 1e3


def in_words(strength: float | None) -> str:
    """After a figure in a line of progress; nothing of a method that has none."""
    return "" if strength is None else f", strength {strength:.4g}"


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

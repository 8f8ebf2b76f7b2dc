"""EVALUATION ONLY: methods for any operator beside each other, on the same scans, all strengths tuned."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ambient_mri.data.spec import DataSpec
from ambient_mri.evaluation.results import Evaluation, Row
from ambient_mri.evaluation.scoring import FIGURES, Scores
from ambient_mri.evaluation.tuning import in_words, tune
from ambient_mri.operators import Sense
from ambient_mri.prior.bundle import Bundle, weights_sha256
from ambient_mri.prior.preconditioning import Prior
from ambient_mri.reconstruction import observed
from ambient_mri.reconstruction.posterior import Posterior, Sampling
from ambient_mri.sampling.observation import Observation
from ambient_mri.sampling.one_step import one_step
from ambient_mri.sampling.plug_and_play import STEPS, plug_and_play
from ambient_mri.sampling.proper import is_proper

HIGHEST = 0.15
"""Where plug-and-play starts: one step errs more through operators that the network never met."""


@dataclass(frozen=True)
class Scan:
    """A slice or a volume.

    Parameters
    ----------
    maps
        `(z, c, y, x)`; z = 1 for a slice.
    truth
        Magnitude `(z, 1, y, x)`.
    scan_ids
        z of them, "volume/slice".
    """

    observed: Observation
    maps: Tensor
    truth: Tensor
    scan_ids: tuple[str, ...]
    patient: str


@dataclass(frozen=True)
class Method:
    """What is compared: a reconstruction of a scan with a strength, where tuning starts, network evaluations.

    `start` is None where there is nothing to tune; then the strength means nothing.
    """

    run: Callable[[Scan, float], Tensor]
    start: float | None
    evaluations: int = 0


def usual_methods(bundle: Bundle) -> dict[str, Method]:
    """Those of every table: what the network is made for, and classical ones."""
    return (_samples(bundle) if is_proper(bundle.card) else _estimates(bundle.prior)) | {
        "cg-sense": Method(lambda scan, strength: observed.cg_sense(scan.observed, strength), 0.01),
        "l1-wavelet": Method(lambda scan, strength: observed.l1_wavelet(scan.observed, strength), 0.01),
        "tv": Method(lambda scan, strength: observed.total_variation(scan.observed, strength), 0.003),
    }


def _samples(bundle: Bundle) -> dict[str, Method]:
    """Of a prior of whole images: the mean of a mirrored pair."""
    posterior = Posterior("mmps", bundle, Sampling(samples=2))
    return {
        "mmps": Method(lambda scan, _: posterior.sample(scan.observed, scan.scan_ids).mean, None, posterior.evaluations)
    }


def _estimates(prior: Prior) -> dict[str, Method]:
    """Of a prior that is asked about what a mask shows."""
    return {
        "one-step": Method(lambda scan, strength: one_step(prior, scan.observed, consistency=strength), 0.01, 1),
        "plug-and-play": Method(
            lambda scan, strength: plug_and_play(
                prior, scan.observed, Sense(scan.maps), strength=strength, highest=HIGHEST
            ),
            0.3,
            1 + STEPS,
        ),
    }


def evaluate_observed(
    bundle_path: Path,
    spec: DataSpec,
    scans: Mapping[float, tuple[Sequence[Scan], Sequence[Scan]]],
    methods: Mapping[str, Method],
    *,
    seed: int,
    command: str,
    progress: Callable[[str], None] = lambda line: None,
) -> Evaluation:
    """Tune every method on validation scans and score it on test scans.

    Parameters
    ----------
    scans
        By acceleration: validation, test.
    seed
        Of the bootstrap.
    """
    rng, rows, scores = torch.Generator().manual_seed(seed), [], Scores()
    for rate, (held, test) in scans.items():
        for name, method in methods.items():
            strength, curve = _tuned(method, held)
            scores, seconds = _score(method.run, test, strength or 0.0)
            seconds /= sum(len(scan.scan_ids) for scan in test)
            found = scores.intervals(rng)
            rows.append(Row(name, rate, **found, nfe=method.evaluations, seconds_per_slice=seconds, strength=strength,
                            tuning=curve))  # fmt: skip
            figures = f"{found['psnr'].mean:.2f} dB, {seconds:.2f} s a slice{in_words(strength)}"
            progress(f"R = {rate:g}, {name}: {figures}")
    return Evaluation(
        data=spec.name, data_sha256=spec.sha256, bundle=str(bundle_path), bundle_sha256=weights_sha256(bundle_path),
        simulated=True, domain="kspace", noise_std=spec.acquisition.noise_std, split="test",
        slices=sum(len(scan.scan_ids) for scan in test), volumes=len(scores.volumes),
        patients=len(set(scores.patients)), tuning_slices=sum(len(scan.scan_ids) for scan in held), seed=seed,
        command=command, rows=tuple(rows),
    )  # fmt: skip


def _tuned(method: Method, held: Sequence[Scan]) -> tuple[float | None, tuple[tuple[float, float], ...]]:
    """The best strength on `held`, and all that were tried."""
    if method.start is None:
        return None, ()
    strength, curve = tune(lambda tried: _score(method.run, held, tried, ("psnr",))[0].mean("psnr"), method.start)
    return strength, tuple(curve)


def _score(
    run: Callable[[Scan, float], Tensor], scans: Sequence[Scan], strength: float, keys: tuple[str, ...] = tuple(FIGURES)
) -> tuple[Scores, float]:
    """The figures, and the seconds that `run` took in all."""
    scores, seconds = Scores(keys), 0.0
    with torch.no_grad():  # no inference mode: samplers ask for derivatives of the network
        for scan in scans:
            started = time.perf_counter()
            image = run(scan, strength).abs()
            seconds += time.perf_counter() - started
            scores.add(scan.scan_ids, [scan.patient] * len(scan.scan_ids), scan.truth, image)
    scores.close()
    return scores, seconds

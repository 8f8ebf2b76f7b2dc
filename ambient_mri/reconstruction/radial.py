"""EVALUATION ONLY: a prior that learned from lines on radial scans, beside classical methods, all strengths tuned."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ambient_mri.data.dataset import open_evaluation
from ambient_mri.data.simulation import stream
from ambient_mri.data.spec import DataSpec
from ambient_mri.errors import InputError
from ambient_mri.prior.bundle import weights_sha256
from ambient_mri.reconstruction import methods, noncartesian
from ambient_mri.reconstruction.metrics import patient_bootstrap
from ambient_mri.reconstruction.results import Evaluation, Row
from ambient_mri.reconstruction.scoring import Batch, Scores
from ambient_mri.reconstruction.tuning import tune
from ambient_mri.sampling.observation import Observation
from ambient_mri.sampling.one_step import one_step

TYPICAL = {"one-step": 0.01, "plug-and-play": 1.0, "cg-sense": 0.01, "l1-wavelet": 0.01}
"""Where tuning starts."""
EVALUATIONS = {"one-step": 1, "plug-and-play": 8}


@dataclass(frozen=True)
class _Scan:
    observed: Observation
    slice: Batch

    @property
    def maps(self) -> Tensor:
        maps = self.slice.measurement.sensitivity_maps
        assert maps is not None
        return maps


Run = Callable[[_Scan, float], Tensor]


def evaluate_radial(
    bundle_path: Path,
    spec: DataSpec,
    *,
    spokes: Sequence[int] = (16, 32),
    limit: int | None = 20,
    tuning_slices: int = 6,
    seed: int = 0,
    command: str = "",
    progress: Callable[[str], None] = lambda line: None,
) -> Evaluation:
    """Golden-angle scans of the test split, simulated with the coils and noise of `spec`.

    Parameters
    ----------
    spokes
        How many; their acceleration is that of the edge of k-space (`noncartesian.acceleration`).
    limit, tuning_slices
        Slices of test, and of validation.
    seed
        Of noise and bootstrap.

    Raises
    ------
    InputError
        If the bundle or the data cannot be used, or are no k-space.
    """
    if spec.acquisition.domain != "kspace":
        raise InputError("pixels were measured, and spokes are of k-space", where=spec.name, remedy="Use another spec")
    prior = methods.load(bundle_path, "cpu", "kspace").prior
    runs: dict[str, Run] = {
        "one-step": lambda scan, strength: one_step(prior, scan.observed, consistency=strength),
        "plug-and-play": lambda scan, strength: noncartesian.plug_and_play(prior, scan.observed, scan.maps, strength),
        "cg-sense": lambda scan, strength: noncartesian.cg_sense(scan.observed, strength),
        "l1-wavelet": lambda scan, strength: noncartesian.l1_wavelet(scan.observed, strength),
    }
    rng, rows, scores = torch.Generator().manual_seed(seed), [], Scores()
    for count in spokes:
        held, test = _scans(spec, "validation", count, tuning_slices, seed), _scans(spec, "test", count, limit, seed)
        for name, run in runs.items():
            tried = lambda strength, run=run, held=held: _score(run, held, strength).mean("psnr")  # noqa: E731
            strength, curve = tune(tried, TYPICAL[name])
            started = time.perf_counter()
            scores = _score(run, test, strength)
            seconds = (time.perf_counter() - started) / len(test)
            psnr, ssim, nmse = (
                patient_bootstrap(scores.values[key], scores.patients, rng) for key in ("psnr", "ssim", "nmse")
            )
            shape = test[0].observed.shape
            rate = round(noncartesian.acceleration(noncartesian.golden_angle(count, shape), shape), 2)
            rows.append(Row(name, rate, psnr, ssim, nmse, EVALUATIONS.get(name, 0), seconds, strength, tuple(curve)))
            progress(f"{count} spokes, {name}: {psnr.mean:.2f} dB, {seconds:.2f} s a slice, strength {strength:.3g}")
    return Evaluation(
        data=spec.name, data_sha256=spec.sha256, bundle=str(bundle_path), bundle_sha256=weights_sha256(bundle_path),
        simulated=True, domain="kspace", noise_std=spec.acquisition.noise_std, split="test", slices=len(test),
        volumes=len(scores.volumes), patients=len(set(scores.patients)), tuning_slices=len(held), seed=seed,
        command=command, rows=tuple(rows),
    )  # fmt: skip


def _scans(spec: DataSpec, split: str, spokes: int, limit: int | None, seed: int) -> list[_Scan]:
    found, made = open_evaluation(spec, split, pattern=spec.pattern(), limit=limit), []
    for i, (measurement, truth) in enumerate(found):
        coordinates = noncartesian.golden_angle(spokes, measurement.image_shape)
        noise = stream(measurement.scan_ids[0], "radial noise", seed)
        observed = noncartesian.simulated(measurement, truth, coordinates, noise)
        made.append(_Scan(observed, Batch(measurement, truth.abs(), [found.patient(i)])))
    return made


def _score(run: Run, scans: Sequence[_Scan], strength: float) -> Scores:
    scores = Scores()
    with torch.inference_mode():
        for scan in scans:
            scores.add(scan.slice, run(scan, strength).abs())
    scores.close()
    return scores

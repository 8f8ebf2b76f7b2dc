"""`calibrate`: from a bundle and a data set to a factor, and to the curves that show what it repairs."""

from __future__ import annotations

import dataclasses
import json
import shlex
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

import torch

import ambient_mri
from ambient_mri.data.dataset import Scans, open_evaluation, open_scans
from ambient_mri.data.spec import DataSpec
from ambient_mri.errors import InputError
from ambient_mri.evaluation import chi_squared
from ambient_mri.evaluation.coverage import (
    Components,
    Patients,
    conformal_factor,
    coverage,
    held_out_samples,
    joined,
    pixels,
)
from ambient_mri.evaluation.drawn import Drawn
from ambient_mri.evaluation.metrics import Interval
from ambient_mri.evaluation.scoring import batches
from ambient_mri.measurement import Measurement, collate
from ambient_mri.operators import Masked
from ambient_mri.prior.bundle import weights_sha256
from ambient_mri.randomness import stream
from ambient_mri.reconstruction import methods
from ambient_mri.reconstruction.calibration import Calibration
from ambient_mri.reconstruction.posterior import Posterior, Sampling

LEVEL = 0.9
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)
KEPT = 0.8
"""Share of each measurement that the sampler sees: close to all of it, which is what it is used with."""
SLICES = 4
"""Of a batch: posterior samples may take a minute a slice, and each batch is a line of progress."""
AT_ONCE = 2**21  # complex samples of a batch
MOST = 8192  # real components of a slice that count; more say nothing new, as they are correlated


@dataclass(frozen=True)
class Curve:
    """Empirical coverage at every nominal level, mean over patients with its 95 % interval.

    Parameters
    ----------
    of
        "held-out measurements" or "pixels".
    factor
        On the standard deviations; 1: as sampled.
    """

    of: str
    factor: float
    levels: tuple[float, ...]
    coverage: tuple[Interval, ...]

    def at(self, level: float) -> Interval:
        return self.coverage[self.levels.index(level)]


@dataclass(frozen=True)
class Reliability:
    """All that a calibration found.

    Parameters
    ----------
    curves
        On test patients, before and after.
    chi_squared
        (median, 5 %, 95 %) over test patients of χ² over degrees of freedom on held-out measurements, before and
        after; None with fewer than four samples.
    kept
        Share of each measurement that the sampler saw.
    """

    calibration: Calibration
    test_patients: int
    kept: float
    curves: tuple[Curve, ...]
    chi_squared: tuple[tuple[float, float, float], tuple[float, float, float]] | None
    seed: int
    command: str

    def to_json(self) -> str:
        values = dataclasses.asdict(replace(self, calibration=None))  # type: ignore[arg-type] # pydantic has its own
        values |= {"calibration": self.calibration.model_dump(), "format": "ambient-mri calibration 1"}
        return json.dumps(values, indent=2) + "\n"


def calibrate(
    bundle_path: Path,
    spec: DataSpec,
    *,
    method: str = "a-fill",
    sampling: Sampling | None = None,
    limit: int | None = None,
    device: str = "cpu",
    seed: int = 0,
    progress: Callable[[str], None] = lambda line: None,
) -> Reliability:
    """Fit the factor on the validation patients of `spec`, check it on the test patients, write it into the bundle.

    What was drawn is kept beside it until then: the same command goes on, unless it has a time budget, by which other
    samples might be drawn the next time.

    Parameters
    ----------
    method
        A posterior sampler (`methods.POSTERIOR`).
    limit
        At most this many slices of each part.
    seed
        Of what is held out, and of the bootstrap; `sampling` has its own.
    progress
        Called with one line a batch.

    Raises
    ------
    InputError
        If bundle, data or method cannot be used, the noise is not known, or there are too few patients.
    """
    if method not in methods.POSTERIOR:
        raise InputError(f"{method} draws no samples: there is no spread to calibrate", where="--method",
                         remedy=f"Choose among {', '.join(methods.POSTERIOR)}")  # fmt: skip
    bundle = methods.load(bundle_path, device)
    if bundle.card.acquisition.domain != spec.acquisition.domain:  # a bundle keeps one factor, for scans like its own
        raise InputError("the model learned from data of another kind, and its calibration is for data like those",
                         where=spec.name, remedy=f"Calibrate on data like {bundle.card.data}")  # fmt: skip
    run = Posterior(method, bundle, sampling or Sampling())
    drawn = _kept(bundle.path, run, spec, seed)
    held, rng = {}, torch.Generator().manual_seed(seed)
    for part in ("validation", "test"):
        scans = open_scans(spec, part, limit=limit)
        held[part] = held_out(run, scans, device, seed, _of(part, progress), drawn)
        if part == "validation":  # before the longer part: too few patients are refused here
            factor = conformal_factor(held[part], LEVEL)
            progress(f"factor {factor:.3f} from {len(held[part])} validation patients")
    curves = [_curve("held-out measurements", held["test"], one, rng) for one in (1.0, factor)]
    checked = curves[1].at(LEVEL)
    progress(f"nominal {LEVEL:.0%} intervals cover {checked.mean:.1%} of held-out measurements of test patients")
    calibration = Calibration(
        version=ambient_mri.__version__, weights_sha256=weights_sha256(bundle.path), method=method,
        samples=run.sampling.samples, nfe=run.nfe, level=LEVEL, factor=factor, data=spec.name,
        data_sha256=spec.sha256, simulated=spec.simulated, patients=len(held["validation"]),
        coverage=(checked.mean, checked.low, checked.high),
    )  # fmt: skip
    calibration.save(bundle.path)
    if spec.simulated:
        images = _in_images(run, spec, limit, device, _of("images", progress), drawn)
        curves += [_curve("pixels", images, one, rng) for one in (1.0, factor)]
    spread = None if run.sampling.samples < 4 else (_chi_squared(held["test"], 1.0), _chi_squared(held["test"], factor))
    command = _command(bundle_path, spec, calibration, limit, seed)
    drawn.remove()
    return Reliability(calibration, len(held["test"]), KEPT, tuple(curves), spread, seed, command)


def held_out(
    run: Posterior,
    scans: Scans,
    device: str = "cpu",
    seed: int = 0,
    progress: Callable[[str], None] = lambda line: None,
    drawn: Drawn | None = None,
) -> Patients:
    """What samples drawn from a part of each measurement say about the rest of it, by patient.

    Patients of whom D hid nothing are not among them. What is in `drawn` is not drawn again.
    """
    law, drawn, pace = scans.further().keeping(KEPT), drawn or Drawn(), _Pace(len(scans), progress)
    for rows, batch in _batches(scans):
        keys = [(scans.part, row) for row in rows]
        if new := any(key not in drawn for key in keys):
            batch = batch.to(device)
            rngs = [stream(seed, "held out", row) for row in rows]
            shown = law.draw(batch.operator(), rngs, batch.component).operator
            found = zip(_of_batch(run, batch, shown), rngs, strict=True)
            drawn.keep(dict(zip(keys, (_thinned(*one) for one in found), strict=True)))
        pace.advance(len(rows), new)
    patients = _by_patient((scans.patient(row), drawn[scans.part, row]) for row in range(len(scans)))
    if not patients:
        raise InputError("no slices to calibrate on", where=scans.part, remedy="Raise the split's share")
    return patients


def _of_batch(run: Posterior, batch: Measurement, shown: Masked) -> Iterator[Components]:
    drawn = run.draw(replace(batch, mask=shown.mask), None)
    hidden = batch.mask & ~shown.mask
    for i in range(len(batch)):
        one = batch[[i]]
        yield held_out_samples(drawn.samples[i], one.y, one.encoding(), hidden[[i]], float(one.noise_std[0]))


def _thinned(components: Components, rng: torch.Generator) -> Components:
    if len(components) <= MOST:
        return components
    at = torch.randperm(len(components), generator=rng)[:MOST]
    return replace(components, residual=components.residual[at], spread=components.spread[at],
                   noise_std=components.noise_std[at])  # fmt: skip


def _batches(scans: Scans) -> Iterator[tuple[list[int], Measurement]]:
    """Slices in order, neighbours of one shape together."""
    for shape, group in groupby(range(len(scans)), key=lambda i: tuple(scans[i].y.shape)):
        rows, most = list(group), max(1, min(SLICES, AT_ONCE // torch.Size(shape).numel()))
        for first in range(0, len(rows), most):
            part = rows[first : first + most]
            yield part, collate([scans[i] for i in part])


def _in_images(
    run: Posterior, spec: DataSpec, limit: int | None, device: str, progress: Callable[[str], None], drawn: Drawn
) -> Patients:
    """SIMULATION ONLY: magnitudes beside the truth, with all that was measured shown."""
    scans, patients = open_evaluation(spec, "test", limit=limit), list[str]()
    pace = _Pace(len(scans), progress)
    for batch in batches(scans, device, SLICES):
        keys = [("images", len(patients) + i) for i in range(len(batch.patients))]
        patients += batch.patients
        if new := any(key not in drawn for key in keys):
            made = run.draw(batch.measurement, None)
            truth = batch.truth[:, 0].to(device)
            found = zip(made.mean[:, 0], made.std[:, 0], truth, strict=True)
            drawn.keep({key: pixels(*one, run.sampling.samples) for key, one in zip(keys, found, strict=True)})
        pace.advance(len(keys), new)
    return _by_patient((patient, drawn["images", row]) for row, patient in enumerate(patients))


def _by_patient(slices: Iterable[tuple[str, Components]]) -> Patients:
    parts: dict[str, list[Components]] = {}
    for patient, components in slices:
        if len(components):  # where each line has its own coin, D may hide none of a few
            parts.setdefault(patient, []).append(components)
    return {patient: joined(components) for patient, components in parts.items()}


class _Pace:
    """A line a batch, with the time left by what was drawn now."""

    def __init__(self, count: int, progress: Callable[[str], None]) -> None:
        self.count, self.progress, self.started = count, progress, time.monotonic()
        self.done = self.now = 0

    def advance(self, slices: int, new: bool) -> None:
        self.done += slices
        if new:
            self.now += slices
            left = (time.monotonic() - self.started) / self.now * (self.count - self.done)
            self.progress(f"{self.done}/{self.count} slices, {left:.0f} s left")


def _of(part: str, progress: Callable[[str], None]) -> Callable[[str], None]:
    return lambda line: progress(f"{part}: {line}")


def _kept(bundle: Path, run: Posterior, spec: DataSpec, seed: int) -> Drawn:
    """What an earlier call for the same samples has drawn."""
    if run.sampling.seconds is not None:
        return Drawn()
    return Drawn(bundle / "configs", {
        "version": ambient_mri.__version__, "weights": weights_sha256(bundle), "data": spec.sha256,
        "method": run.method, "samples": run.sampling.samples, "nfe": run.nfe, "drawn": run.sampling.seed,
        "hidden": seed,
    })  # fmt: skip


def _curve(of: str, patients: Patients, factor: float, rng: torch.Generator) -> Curve:
    return Curve(of, factor, LEVELS, tuple(coverage(patients, level, rng, factor) for level in LEVELS))


def _chi_squared(patients: Patients, factor: float) -> tuple[float, float, float]:
    reduced = torch.tensor([chi_squared.held_out(components, factor).reduced for components in patients.values()])
    median, low, high = torch.quantile(reduced, torch.tensor([0.5, 0.05, 0.95])).tolist()
    return median, low, high


def _command(bundle: Path, spec: DataSpec, found: Calibration, limit: int | None, seed: int) -> str:
    words = ["ambient-mri", "calibrate", str(bundle), "--data", spec.name, "--method", found.method]
    words += ["--samples", str(found.samples), "--nfe", str(found.nfe), "--seed", str(seed)]
    return shlex.join(words + (["--limit", str(limit)] if limit is not None else []))

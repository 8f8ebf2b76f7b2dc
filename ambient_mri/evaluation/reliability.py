"""`calibrate`: from a bundle and a data set to a factor, and to the curves that show what it repairs."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

import ambient_mri
from ambient_mri.data.dataset import open_scans
from ambient_mri.data.spec import DataSpec
from ambient_mri.errors import InputError
from ambient_mri.evaluation import chi_squared
from ambient_mri.evaluation.coverage import Patients, conformal_factor, coverage
from ambient_mri.evaluation.drawn import Drawn
from ambient_mri.evaluation.held_out import KEPT, held_out, in_images
from ambient_mri.evaluation.metrics import Interval
from ambient_mri.prior.bundle import weights_sha256
from ambient_mri.reconstruction import methods
from ambient_mri.reconstruction.calibration import Calibration
from ambient_mri.reconstruction.posterior import Posterior, Sampling

LEVEL = 0.9
LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


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
        images = in_images(run, spec, limit, device, _of("images", progress), drawn)
        curves += [_curve("pixels", images, one, rng) for one in (1.0, factor)]
    spread = None if run.sampling.samples < 4 else (_chi_squared(held["test"], 1.0), _chi_squared(held["test"], factor))
    command = _command(bundle_path, spec, calibration, limit, seed)
    drawn.remove()
    return Reliability(calibration, len(held["test"]), KEPT, tuple(curves), spread, seed, command)


def _of(part: str, progress: Callable[[str], None]) -> Callable[[str], None]:
    return lambda line: progress(f"{part}: {line}")


def _kept(bundle: Path, run: Posterior, spec: DataSpec, seed: int) -> Drawn:
    """What an earlier call for the same samples has drawn."""
    if run.sampling.seconds is not None:
        return Drawn()
    return Drawn(bundle.resolve(), {
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

"""EVALUATION ONLY: a prior that learned from lines on radial scans, beside classical methods, all strengths tuned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from torch import Generator, Tensor

from ambient_mri.data.dataset import open_evaluation
from ambient_mri.data.spec import DataSpec
from ambient_mri.errors import InputError
from ambient_mri.evaluation.observed import Scan, evaluate_observed, usual_methods
from ambient_mri.evaluation.results import Evaluation
from ambient_mri.measurement import Measurement
from ambient_mri.randomness import stream, white
from ambient_mri.reconstruction import methods, noncartesian
from ambient_mri.sampling.observation import Observation


def simulated(
    measurement: Measurement, truth: Tensor, coordinates: noncartesian.Coordinates, rng: Generator
) -> Observation:
    """SIMULATION ONLY: a slice as a non-Cartesian scan with the maps and the noise of a Cartesian one.

    Parameters
    ----------
    measurement, truth
        Of batch size 1, as `data.dataset.open_evaluation` has them.
    """
    assert measurement.sensitivity_maps is not None
    maps, noise_std = measurement.sensitivity_maps[0], float(measurement.noise_std[0])
    samples = noncartesian.encoding(maps, coordinates).forward(truth)
    y = samples + noise_std * white(tuple(samples.shape[1:]), rng)[None]
    return noncartesian.observation(y, maps, coordinates, noise_std)


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
    bundle = methods.load(bundle_path, "cpu", "kspace")
    scans = {}
    for count in spokes:
        held, test = _scans(spec, "validation", count, tuning_slices, seed), _scans(spec, "test", count, limit, seed)
        shape = test[0].observed.shape
        rate = noncartesian.acceleration(noncartesian.golden_angle(count, shape), shape)
        scans[round(rate, 2)] = (held, test)
    return evaluate_observed(
        bundle_path, spec, scans, usual_methods(bundle), seed=seed, command=command, progress=progress
    )


def _scans(spec: DataSpec, split: str, spokes: int, limit: int | None, seed: int) -> list[Scan]:
    found, made = open_evaluation(spec, split, pattern=spec.pattern(), limit=limit), []
    for i, (measurement, truth) in enumerate(found):
        coordinates = noncartesian.golden_angle(spokes, measurement.image_shape)
        noise = stream(seed, "radial noise", measurement.scan_ids[0])
        observed = simulated(measurement, truth, coordinates, noise)
        assert measurement.sensitivity_maps is not None
        made.append(Scan(observed, measurement.sensitivity_maps, truth.abs(), measurement.scan_ids, found.patient(i)))
    return made

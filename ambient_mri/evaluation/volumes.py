"""EVALUATION ONLY: a prior of slices on scans in three dimensions, beside classical methods, all strengths tuned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path

import sigpy as sp
import sigpy.mri
import torch
from torch import Generator, Tensor

from ambient_mri.data.simulation import Acquisition
from ambient_mri.data.slices import magnitude_image
from ambient_mri.data.spec import DataSpec
from ambient_mri.data.split import Part, parts
from ambient_mri.errors import InputError
from ambient_mri.evaluation.observed import Scan, evaluate_observed, usual_methods
from ambient_mri.evaluation.results import Evaluation
from ambient_mri.measurement import DATA_STD
from ambient_mri.patterns import PoissonDisc
from ambient_mri.randomness import stream, white
from ambient_mri.reconstruction import methods, volumes
from ambient_mri.sampling.observation import Observation

CALIBRATION = 0.08
"""Share of either phase-encode axis that is measured completely around the centre."""


@dataclass(frozen=True)
class SimulatedVolume:
    """A scan, its maps `(z, c, y, x)`, and the image behind it `(z, 1, y, x)`, in normalised units."""

    observed: Observation
    maps: Tensor
    truth: Tensor


def simulated(images: Tensor, acquisition: Acquisition, rng: Generator) -> SimulatedVolume:
    """SIMULATION ONLY: magnitude images `(z, y, x)` under coils in rings around the volume (`sigpy.mri.birdcage_maps`).

    Parameters
    ----------
    acquisition
        Coils, noise, and the law of the phase encodes (z, y).
    """
    truth = (images * (DATA_STD / images.std())).to(torch.complex64)[:, None]
    slices, rows, columns = (int(n) for n in images.shape)
    shape = (acquisition.coils, slices, rows, columns)
    maps = torch.from_numpy(sp.mri.birdcage_maps(shape, dtype="complex64")).transpose(0, 1)
    mask = acquisition.pattern.draw((slices, rows), rng)
    samples = volumes.encoding(maps, torch.ones_like(mask)).forward(truth).reshape(shape)
    y = samples + acquisition.noise_std * white(shape, rng)
    return SimulatedVolume(volumes.observation(y, maps, mask, acquisition.noise_std), maps, truth)


def evaluate_volumes(
    bundle_path: Path,
    spec: DataSpec,
    *,
    accelerations: Sequence[float] = (4.0, 8.0),
    limit: int | None = 8,
    tuning_volumes: int = 2,
    seed: int = 0,
    command: str = "",
    progress: Callable[[str], None] = lambda line: None,
) -> Evaluation:
    """Volumes of the test split, Poisson-disc points of their phase encodes (z, y) simulated with the noise of `spec`.

    Parameters
    ----------
    limit, tuning_volumes
        Volumes of test, and of validation.
    seed
        Of masks, noise and bootstrap.

    Raises
    ------
    InputError
        If the bundle or the data cannot be used, are no k-space or no images, or a volume has one slice only.
    """
    if spec.acquisition.domain != "kspace" or spec.source.kind == "fastmri":
        raise InputError("volumes are simulated from images, for k-space", where=spec.name, remedy="Use another spec")
    bundle = methods.load(bundle_path, "cpu", "kspace")
    scans = {
        float(rate): (
            _scans(spec, "validation", rate, tuning_volumes, seed), _scans(spec, "test", rate, limit, seed)
        ) for rate in accelerations
    }  # fmt: skip
    return evaluate_observed(
        bundle_path, spec, scans, usual_methods(bundle), seed=seed, command=command, progress=progress
    )


def _scans(spec: DataSpec, part: Part, rate: float, limit: int | None, seed: int) -> list[Scan]:
    made = []
    together = groupby(parts(spec)[part], key=lambda record: record.volume_id)
    for volume, grouped in islice(together, limit):
        records = list(grouped)
        if len(records) < 2:
            raise InputError(
                "a volume of one slice", where=f"{spec.name}, {volume}",
                remedy="Set source.slices, to all for example",
            )  # fmt: skip
        images = torch.stack([magnitude_image(spec, record)[0] for record in records])
        acquisition = spec.simulation(PoissonDisc(rate, CALIBRATION))
        scan = simulated(images, acquisition, stream(seed, "three dimensions", volume))
        ids = tuple(record.scan_id for record in records)
        made.append(Scan(scan.observed, scan.maps, scan.truth.abs(), ids, records[0].patient))
    return made

"""Sets of samples beside unseen real images, and beside the floor: other real images in the same number.

EVALUATION ONLY: reads the images behind the measurements.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Generator

from ambient_mri.data.dataset import open_evaluation
from ambient_mri.data.spec import DataSpec
from ambient_mri.errors import InputError
from ambient_mri.evaluation.features import Axes, Embed, Features, Images, scattering
from ambient_mri.generation import distances
from ambient_mri.generation.results import Comparison, Figure, Row

DIMENSIONS = 32
HALVINGS = 100
FEWEST = 16
"""Images of a set, at least; below, every figure is noise."""


@dataclass(frozen=True)
class Real:
    """Magnitude images `(n, y, x)` of real slices in normalised units, and whose they are."""

    images: Images
    patients: tuple[str, ...]


def real_images(spec: DataSpec, splits: Sequence[str], limit: int | None = None) -> Real:
    """EVALUATION ONLY: the images behind the measurements of some parts of a data set.

    Parameters
    ----------
    limit
        At most this many, evenly spread over all, so that as many patients as can be are among them.
    """
    every = [(scans, i) for scans in (open_evaluation(spec, split) for split in splits) for i in range(len(scans))]
    if limit is not None and limit < len(every):
        every = [every[int(place)] for place in np.linspace(0, len(every) - 1, limit).round()]
    images = [scans[i][1][0, 0].abs().float().numpy() for scans, i in every]
    if len({image.shape for image in images}) != 1:
        raise InputError("there are no real images, or they have several sizes", where=spec.name,
                         remedy="Look at the split, or set source.crop_kspace")  # fmt: skip
    return Real(np.stack(images), tuple(scans.patient(i) for scans, i in every))


def load_samples(path: Path, shape: tuple[int, int]) -> Images:
    """Magnitudes `(n, y, x)` of a file of `ambient-mri sample` (`samples.npy`, or its folder).

    Raises
    ------
    InputError
        If it holds something else, other sizes, or values that are not finite.
    """
    path = path / "samples.npy" if path.is_dir() else path
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as problem:
        raise InputError("no array of samples can be read here", where=str(path),
                         remedy="Give samples.npy of `ambient-mri sample`") from problem  # fmt: skip
    if isinstance(values, np.lib.npyio.NpzFile):
        raise InputError("an archive of several arrays", where=str(path), remedy="Give one array (n, y, x) as .npy")
    if values.ndim != 3 or not np.issubdtype(values.dtype, np.number):
        raise InputError(f"an array {values.shape} of {values.dtype}, not images (n, y, x)", where=str(path))
    if values.shape[1:] != shape:
        raise InputError(f"images of {values.shape[1]} x {values.shape[2]}, the real ones have {shape[0]} x {shape[1]}",
                         where=str(path), remedy="Give --data the spec that the model learned from")  # fmt: skip
    magnitudes: Images = np.abs(values).astype(np.float32)
    if not np.isfinite(magnitudes).all():
        raise InputError("samples are not finite (NaN or infinity)", where=str(path), remedy="Draw them anew")
    return magnitudes


@dataclass(frozen=True)
class _Rows:
    """What the distances need of a set, a row an image."""

    placed: Features
    projected: Features
    power: Features

    def __getitem__(self, rows: np.ndarray) -> _Rows:
        return _Rows(self.placed[rows], self.projected[rows], self.power[rows])


class Yardstick:
    """Distances to `real`; features are placed on principal axes of `others`, which are real, too.

    Parameters
    ----------
    embed
        From magnitude images to features; the default needs no weights.
    """

    def __init__(self, real: Real, others: Images, *, seed: int = 0, embed: Embed = scattering) -> None:
        self.embed, self.seed = embed, seed
        self.axes = Axes.of(embed(others), DIMENSIONS)
        self.real = self._rows(real.images)
        self.patients = np.unique(np.asarray(real.patients), return_inverse=True)[1]

    def figures(self, images: Images) -> dict[str, Figure]:
        """Every metric with its standard error.

        Errors come from halves of the patients and of the samples (delete-half jackknife, Shao and Wu 1989): a
        bootstrap would repeat images, which every one of these metrics takes for structure.
        """
        rows = self._rows(images)
        values = _measure(self.real, rows)
        rng = Generator().manual_seed(self.seed)
        halves = []
        for _ in range(HALVINGS):
            chosen = torch.randperm(int(self.patients.max()) + 1, generator=rng).numpy()
            some = np.isin(self.patients, chosen[: max(len(chosen) // 2, 1)])
            half = torch.randperm(len(images), generator=rng)[: max(len(images) // 2, 2)].numpy()
            halves.append(list(_measure(self.real[np.flatnonzero(some)], rows[half]).values()))
        errors = np.std(np.asarray(halves), axis=0)
        return {key: Figure(value, float(error)) for (key, value), error in zip(values.items(), errors, strict=True)}

    def _rows(self, images: Images) -> _Rows:
        directions = Generator().manual_seed(self.seed)
        return _Rows(self.axes(self.embed(images)), distances.project(images, directions),
                     distances.radial_spectrum(images))  # fmt: skip


def _measure(real: _Rows, samples: _Rows) -> dict[str, float]:
    both = distances.support(real.placed, samples.placed)
    return {
        "frechet": distances.frechet(real.placed, samples.placed),
        "kernel": distances.kernel(real.placed, samples.placed),
        "sliced_wasserstein": distances.sliced_wasserstein(real.projected, samples.projected),
        "spectrum_db": distances.spectrum(real.power, samples.power),
        "precision": both.precision, "recall": both.recall,
    }  # fmt: skip


def compare(
    samples: Mapping[str, Path], spec: DataSpec, *, split: str = "test", limit: int | None = None, seed: int = 0,
    command: str = "", embed: Embed = scattering, embedding: str = "scattering",
) -> Comparison:  # fmt: skip
    """Every set of samples beside the unseen real images of `split`, sets cut to one size.

    Parameters
    ----------
    samples
        Name of each set, and its file or folder.
    limit
        At most this many real images, and images of each set.

    Raises
    ------
    InputError
        If a set or the data cannot be used, or there are too few images.
    """
    real = real_images(spec, (split,), limit)
    shape = (int(real.images.shape[1]), int(real.images.shape[2]))
    sets = {name: load_samples(path, shape) for name, path in samples.items()}
    rest = tuple(part for part in ("validation", "train") if part != split)
    count = min([len(one) for one in sets.values()] + ([limit] if limit is not None else []))
    others = real_images(spec, rest, 2 * count).images
    floor, spare = (others[::2], others[1::2]) if len(others) == 2 * count else (others, others)
    count = min(count, len(floor))
    if min(count, len(real.images)) < FEWEST:
        raise InputError(f"{count} samples and {len(real.images)} real images are too few to compare",
                         where=spec.name, remedy=f"Draw at least {FEWEST} of each")  # fmt: skip
    yardstick = Yardstick(real, spare, seed=seed, embed=embed)
    return Comparison(
        data=spec.name, data_sha256=spec.sha256, simulated=spec.simulated, split=split, real=len(real.images),
        patients=len(set(real.patients)), embedding=embedding, dimensions=len(yardstick.axes.axes), seed=seed,
        command=command, floor=Row("real images", count, yardstick.figures(floor[:count])),
        rows=tuple(Row(name, count, yardstick.figures(one[:count])) for name, one in sets.items()),
    )  # fmt: skip

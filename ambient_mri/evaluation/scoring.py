"""Slices in batches with their truth, and the figures of one method, volume by volume. Evaluation only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Generator, Tensor

from ambient_mri.data.dataset import EvaluationScans
from ambient_mri.evaluation.metrics import (
    Interval,
    Volume,
    feature_distance,
    nmse,
    patient_bootstrap,
    patient_means,
    psnr,
    ssim,
)
from ambient_mri.measurement import Measurement, collate

BATCH = 16
FIGURES: dict[str, Callable[[Volume, Volume], float]] = {
    "psnr": psnr,
    "ssim": ssim,
    "nmse": nmse,
    "features": feature_distance,
}


@dataclass(frozen=True)
class Batch:
    """Slices of one size: measured, their true images `(b, 1, y, x)`, magnitudes of these, whose they are."""

    measurement: Measurement
    image: Tensor
    truth: Tensor
    patients: list[str]


def batches(scans: EvaluationScans, device: str, size: int = BATCH) -> Iterator[Batch]:
    """In order, up to `size` at a time; sizes are never mixed."""
    waiting: list[tuple[Measurement, Tensor, str]] = []

    def flush() -> Batch:
        measured, truths, patients = zip(*waiting, strict=True)
        waiting.clear()
        image = torch.cat(truths)
        return Batch(collate(measured).to(device), image, image.abs(), list(patients))

    for i in range(len(scans)):
        measurement, truth = scans[i]
        if waiting and (len(waiting) == size or measurement.y.shape != waiting[0][0].y.shape):
            yield flush()
        waiting.append((measurement, truth, scans.patient(i)))
    if waiting:
        yield flush()


@dataclass
class Scores:
    """The figures of one method, volume by volume; only the volume at hand is held in memory.

    Parameters
    ----------
    keys
        Which figures; tuning needs one.
    """

    keys: tuple[str, ...] = tuple(FIGURES)
    values: dict[str, list[float]] = field(init=False)
    patients: list[str] = field(default_factory=list)
    volumes: list[str] = field(default_factory=list)
    _truth: list[Tensor] = field(default_factory=list)
    _image: list[Tensor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.values = {key: [] for key in self.keys}

    def add(self, scan_ids: Sequence[str], patients: Sequence[str], truth: Tensor, image: Tensor) -> None:
        """Magnitudes `(b, 1, y, x)` of the next slices, true and reconstructed."""
        for i, scan_id in enumerate(scan_ids):
            volume = scan_id.rpartition("/")[0] or scan_id
            if not self.volumes or self.volumes[-1] != volume:
                self.close()
                self.volumes.append(volume)
                self.patients.append(patients[i])
            self._truth.append(truth[i, 0])
            self._image.append(image[i, 0])

    def close(self) -> None:
        if self._truth:
            truth, image = (torch.stack(part).numpy() for part in (self._truth, self._image))
            for key in self.keys:
                self.values[key].append(FIGURES[key](truth, image))
        self._truth, self._image = [], []

    def intervals(self, rng: Generator) -> dict[str, Interval]:
        """Of each figure, by a bootstrap over patients."""
        return {key: patient_bootstrap(self.values[key], self.patients, rng) for key in self.keys}

    def mean(self, key: str) -> float:
        """Over patients."""
        return float(np.mean(patient_means(self.values[key], self.patients)))

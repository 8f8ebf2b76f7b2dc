"""What laws of Cartesian k-space share: a measured centre for calibration, and an acceleration."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Generator, Tensor

from ambient_mri.fourier import central
from ambient_mri.patterns.law import Shape, require, shape_of
from ambient_mri.patterns.thinning import choose, given_counts, thin_uniformly


@lru_cache(maxsize=64)
def around_centre(size: int, count: int) -> Tensor:
    """`count` indices around the centre size//2, bool `(size,)`."""
    inside = torch.zeros(size, dtype=torch.bool)
    inside[central(size, count)] = True
    return inside


@dataclass(frozen=True)
class Cartesian:
    """A calibration region, and `acceleration` R = units of the grid / units measured, calibration included."""

    acceleration: float
    calibration_fraction: float = 0.08

    def __post_init__(self) -> None:
        require(self.acceleration >= 1, f"acceleration {self.acceleration}", "Give R ≥ 1")
        inside = 0 <= self.calibration_fraction < 1
        require(inside, f"calibration_fraction {self.calibration_fraction}", "Give a fraction in [0, 1)")

    def calibration(self, shape: Shape) -> Tensor:
        return around_centre(shape[1], round(self.calibration_fraction * shape[1]))[None].clone()

    def _free(self, shape: Shape) -> tuple[int, int]:
        """(units beyond the calibration that a scan measures, units beyond the calibration)."""
        centre = self.calibration(shape)
        free = int((~centre).sum())
        count = round(centre.numel() / self.acceleration) - (centre.numel() - free)
        require(
            count >= 2 or self.acceleration == 1,
            f"R = {self.acceleration} leaves {max(count, 0)} units beyond {centre.numel() - free} of calibration",
            "Lower R or calibration_fraction: D needs something to drop",
        )
        return min(count, free), free

    def probability(self, shape: Shape) -> Tensor:
        count, free = self._free(shape)
        return torch.where(self.calibration(shape), 1.0, count / max(free, 1))

    def thin(self, measured: Tensor, keep: float, rng: Generator) -> Tensor:
        return thin_uniformly(measured, self._calibration_of(measured), keep, rng)

    def _calibration_of(self, mask: Tensor) -> Tensor:
        return self.calibration(shape_of(mask))


class Exchangeable(Cartesian):
    """A fixed number of units, all equally likely."""

    def draw(self, shape: Shape, rng: Generator) -> Tensor:
        centre = self.calibration(shape)
        return centre | choose(~centre, self._free(shape)[0], rng)

    def given(self, shown: Tensor, measured: Tensor, keep: float, acquired: Tensor | None = None) -> Tensor:
        return given_counts(shown, measured, self._calibration_of(measured), acquired)

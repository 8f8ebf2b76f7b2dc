"""Missing pixels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from ambient_mri.patterns.law import Shape, require
from ambient_mri.patterns.thinning import given_counts, thin_uniformly


@dataclass(frozen=True)
class Pixels:
    """Each pixel is missing with probability `missing`, independently (Daras et al. 2023)."""

    missing: float

    def __post_init__(self) -> None:
        require(0 < self.missing < 1, f"missing = {self.missing}", "Give a probability between 0 and 1")

    def draw(self, shape: Shape, rng: Generator) -> Tensor:
        return torch.rand(shape, generator=rng) >= self.missing

    def probability(self, shape: Shape) -> Tensor:
        return torch.full(shape, 1 - self.missing)

    def calibration(self, shape: Shape) -> Tensor:
        return torch.zeros(shape, dtype=torch.bool)

    def thin(self, measured: Tensor, keep: float, rng: Generator) -> Tensor:
        return thin_uniformly(measured, torch.zeros_like(measured), keep, rng)

    def given(self, shown: Tensor, measured: Tensor, keep: float, acquired: Tensor | None = None) -> Tensor:
        return given_counts(shown, measured, torch.zeros_like(measured), acquired)

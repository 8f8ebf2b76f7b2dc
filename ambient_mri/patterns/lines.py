"""Laws of phase-encode lines: masks `(1, x)`."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor

from ambient_mri.errors import InputError
from ambient_mri.patterns.cartesian import Cartesian, Exchangeable
from ambient_mri.patterns.law import Shape, require, shape_of
from ambient_mri.patterns.thinning import given_independent, thin_independently


@dataclass(frozen=True)
class RandomLines(Exchangeable):
    """Phase-encode lines drawn uniformly without replacement, beside the calibration lines."""


@dataclass(frozen=True)
class EquispacedLines(Cartesian):
    """Every r-th line from a random offset, beside the calibration lines (as fastMRI's equispaced masks).

    r is chosen so that all lines together give the acceleration R. A single shown line reveals the
    offset, hence all of A: identifiable only through several coils, if at all.
    """

    def _step(self, shape: Shape) -> int:
        count, free = self._free(shape)
        return max(round(free / max(count, 1)), 1)  # R = 1 may leave no line beyond the calibration

    def _comb(self, shape: Shape, offset: int) -> Tensor:
        lines = torch.zeros(1, shape[1], dtype=torch.bool)
        lines[:, offset :: self._step(shape)] = True
        return lines | self.calibration(shape)

    def draw(self, shape: Shape, rng: Generator) -> Tensor:
        return self._comb(shape, int(torch.randint(self._step(shape), (1,), generator=rng)))

    def probability(self, shape: Shape) -> Tensor:
        step = self._step(shape)
        return torch.stack([self._comb(shape, k) for k in range(step)]).float().mean(0)

    def given(self, shown: Tensor, measured: Tensor, keep: float, acquired: Tensor | None = None) -> Tensor:
        shape = shape_of(measured)
        combs = [self._comb(shape, k) for k in range(self._step(shape))]
        possible = [comb for comb in combs if not bool((shown & ~comb).any())] or combs
        return torch.stack(possible).float().mean(0).masked_fill(shown, 1.0)


@dataclass(frozen=True)
class GaussianLines(Cartesian):
    """Independent lines with Gaussian density of standard deviation `width` (fraction of the axis)."""

    width: float = 0.25

    def probability(self, shape: Shape) -> Tensor:
        centre, (count, _) = self.calibration(shape), self._free(shape)
        k = (torch.arange(shape[1]) - shape[1] // 2) / (self.width * shape[1])
        density = torch.exp(-0.5 * k.square())[None].masked_fill(centre, 0.0)
        low, high = 0.0, 1e6
        for _ in range(60):  # scale so that the expected number of lines is `count`, probabilities capped below 1
            middle = (low + high) / 2
            too_many = float((middle * density).clamp_max(0.95).sum()) > count
            low, high = (low, middle) if too_many else (middle, high)
        chance = (low * density).clamp_max(0.95)
        require(
            float(chance.sum()) >= 0.9 * count,
            f"Gaussian lines of width {self.width} reach {float(chance.sum()):.0f} of the {count} that R = "
            f"{self.acceleration} needs beyond the calibration", "Raise width or R",
        )  # fmt: skip
        return chance.masked_fill(centre, 1.0)

    def draw(self, shape: Shape, rng: Generator) -> Tensor:
        return torch.rand(1, shape[1], generator=rng) < self.probability(shape)

    def thin(self, measured: Tensor, keep: float, rng: Generator) -> Tensor:
        return thin_independently(measured, self._calibration_of(measured), keep, rng)

    def given(self, shown: Tensor, measured: Tensor, keep: float, acquired: Tensor | None = None) -> Tensor:
        shape = shape_of(measured)
        return given_independent(shown | self.calibration(shape), self.probability(shape), keep)


@dataclass(frozen=True)
class EmpiricalLines:
    """Prospective scans whose law is not stated: P is the frequency of each line over the training masks.

    Lines are taken for independent of each other. A fixed number of them in every scan is near enough (weights 2 % too
    large at R = 4 of 64 lines); equally spaced ones are not, and are refused where the masks are read.
    """

    frequency: tuple[float, ...] = field(repr=False)

    @classmethod
    def of(cls, masks: Tensor) -> EmpiricalLines:
        """From line masks `(scans, 1, x)` or `(scans, 1, 1, x)`."""
        return cls(tuple(masks.reshape(len(masks), -1).float().mean(0).tolist()))

    def probability(self, shape: Shape) -> Tensor:
        if len(self.frequency) != shape[1]:
            raise InputError(
                f"{len(self.frequency)} line frequencies for {shape[1]} lines",
                where="pattern",
                remedy="All scans of one training need the same number of phase-encode lines",
            )
        return torch.tensor(self.frequency)[None]

    def calibration(self, shape: Shape) -> Tensor:
        """The run of always-measured lines around the centre."""
        always = (self.probability(shape) >= 1.0)[0].tolist()
        centre = shape[1] // 2
        left = right = centre
        while left > 0 and always[left - 1]:
            left -= 1
        while right < shape[1] and always[right]:
            right += 1
        inside = torch.zeros(1, shape[1], dtype=torch.bool)
        inside[:, left:right] = True
        return inside & self.probability(shape).ge(1.0)

    def draw(self, shape: Shape, rng: Generator) -> Tensor:
        return torch.rand(1, shape[1], generator=rng) < self.probability(shape)

    def thin(self, measured: Tensor, keep: float, rng: Generator) -> Tensor:
        return thin_independently(measured, self.calibration((1, int(measured.shape[-1]))), keep, rng)

    def given(self, shown: Tensor, measured: Tensor, keep: float, acquired: Tensor | None = None) -> Tensor:
        shape = (1, int(measured.shape[-1]))
        return given_independent(shown | self.calibration(shape), self.probability(shape), keep)

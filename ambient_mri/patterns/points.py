"""Laws of single points of k-space, where two axes are phase-encoded: masks `(y, x)`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Generator, Tensor

from ambient_mri.patterns.cartesian import Cartesian, Exchangeable, around_centre
from ambient_mri.patterns.law import Shape
from ambient_mri.patterns.thinning import given_counts


@dataclass(frozen=True)
class RandomPoints(Exchangeable):
    """Single k-space points drawn uniformly (two phase-encode axes), beside a calibration square."""

    def calibration(self, shape: Shape) -> Tensor:
        sides = [round(self.calibration_fraction * n) for n in shape]
        return around_centre(shape[0], sides[0])[:, None] & around_centre(shape[1], sides[1])


@dataclass(frozen=True)
class PoissonDisc(Cartesian):
    """Poisson-disc points of uniform density beside a calibration square (two phase-encode axes).

    Bridson's dart throwing on a grid: no closed form for the inclusion probabilities, which are
    estimated from 200 seeded draws; given Ã the points are treated as exchangeable, which
    neglects their repulsion.
    """

    def calibration(self, shape: Shape) -> Tensor:
        return RandomPoints(self.acceleration, self.calibration_fraction).calibration(shape)

    def draw(self, shape: Shape, rng: Generator) -> Tensor:
        centre, (count, free) = self.calibration(shape), self._free(shape)
        measured = torch.zeros(shape, dtype=torch.bool)
        # For a maximal Poisson-disc set about .7/r² of the grid is taken; start there, shrink until enough fit.
        radius, placed = math.sqrt(0.7 * free / count), 0
        order = torch.randperm(shape[0] * shape[1], generator=rng).tolist()
        while placed < count:
            reach = max(math.ceil(radius) - 1, 0)
            for place in order:
                row, column = divmod(place, shape[1])
                if placed == count:
                    break
                if centre[row, column] or measured[row, column]:
                    continue
                rows = slice(max(row - reach, 0), row + reach + 1)
                columns = slice(max(column - reach, 0), column + reach + 1)
                near = measured[rows, columns].nonzero()
                offset = near - torch.tensor([row - rows.start, column - columns.start])
                if not bool((offset.square().sum(1) < radius**2).any()):
                    measured[row, column] = True
                    placed += 1
            radius *= 0.9
        return measured | centre

    def probability(self, shape: Shape) -> Tensor:
        return _poisson_probability(self, shape).clone()

    def given(self, shown: Tensor, measured: Tensor, keep: float) -> Tensor:
        return given_counts(shown, measured, self._calibration_of(measured))


@lru_cache(maxsize=16)
def _poisson_probability(pattern: PoissonDisc, shape: Shape) -> Tensor:
    rng = Generator().manual_seed(0)
    return torch.stack([pattern.draw(shape, rng) for _ in range(200)]).float().mean(0)

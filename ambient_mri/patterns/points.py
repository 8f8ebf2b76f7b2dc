"""Laws of single points of k-space, where two axes are phase-encoded: masks `(y, x)`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
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
        if count == 0:  # R = 1 may leave no point beyond the calibration
            return centre
        order = torch.randperm(shape[0] * shape[1], generator=rng).tolist()
        inside = centre.flatten().tolist()
        places = [divmod(place, shape[1]) for place in order if not inside[place]]
        # For a maximal Poisson-disc set about .7/r² of the grid is taken; start there, shrink until enough fit.
        radius, placed = math.sqrt(0.7 * free / count), list[tuple[int, int]]()
        while len(placed) < count:
            placed = _thrown(places, placed, count, radius, shape)
            radius *= 0.9
        measured = centre.clone()
        measured[tuple(zip(*placed, strict=True))] = True
        return measured

    def probability(self, shape: Shape) -> Tensor:
        return _poisson_probability(self, shape).clone()

    def given(self, shown: Tensor, measured: Tensor, keep: float, acquired: Tensor | None = None) -> Tensor:
        return given_counts(shown, measured, self._calibration_of(measured), acquired)


def _thrown(
    places: list[tuple[int, int]], placed: list[tuple[int, int]], most: int, radius: float, shape: Shape
) -> list[tuple[int, int]]:
    """`placed`, and of `places` in their order those that lie nowhere within `radius` of one before, up to `most`.

    Each point marks the disc around it, so that the next one is a single look.
    """
    reach = max(math.ceil(radius) - 1, 0)
    offsets = np.arange(-reach, reach + 1)
    disc = offsets[:, None] ** 2 + offsets**2 < radius**2
    taken = np.zeros((shape[0] + 2 * reach, shape[1] + 2 * reach), bool)

    def mark(row: int, column: int) -> None:
        taken[row : row + 2 * reach + 1, column : column + 2 * reach + 1] |= disc

    found = list(placed)
    for place in placed:
        mark(*place)
    for row, column in places:
        if len(found) == most:
            break
        if not taken[row + reach, column + reach]:
            mark(row, column)
            found.append((row, column))
    return found


@lru_cache(maxsize=16)
def _poisson_probability(pattern: PoissonDisc, shape: Shape) -> Tensor:
    rng = Generator().manual_seed(0)
    return torch.stack([pattern.draw(shape, rng) for _ in range(200)]).float().mean(0)

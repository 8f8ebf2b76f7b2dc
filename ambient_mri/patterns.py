"""Laws of sampling: which pixels or k-space samples a scan measures, and with what probability.

A unit is what is measured or missed as a whole: a pixel, a k-space point, or a phase-encode line
(the last axis; line masks have shape `(1, x)`). Every law states its inclusion probabilities
P(A_j = 1), can be thinned (D, the further corruption), and states P(A_j = 1 | Ã): what inverse
probability weights and the identifiability check are made of.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

import torch
from torch import Generator, Tensor

from ambient_mri.errors import InputError

Shape = tuple[int, int]


class Pattern(Protocol):
    """A law of sampling over a grid `(y, x)`; masks are bool `(y, x)`, or `(1, x)` for lines."""

    def draw(self, shape: Shape, rng: Generator) -> Tensor:
        """One mask; True = measured."""

    def probability(self, shape: Shape) -> Tensor:
        """P(A_j = 1), float32, of the mask's shape."""

    def calibration(self, shape: Shape) -> Tensor:
        """Units that every scan measures and D never drops."""

    def thin(self, measured: Tensor, keep: float, rng: Generator) -> Tensor:
        """What D shows of `measured`, about the fraction `keep` of it beyond the calibration."""

    def given(self, shown: Tensor, measured: Tensor, keep: float) -> Tensor:
        """P(A_j = 1 | Ã shows `shown`); 1 where shown. `measured` only supplies counts."""


def units(pattern: Pattern, mask: Tensor) -> Tensor:
    """A mask over an image's grid as a mask of what the law measures as a whole: `(1, x)` of `(y, x)` for lines.

    Batches of scans with lines and with points hold line masks as copies over all rows.

    Raises
    ------
    InputError
        If lines were measured in part: the mask is of another law.
    """
    grid = pattern.calibration((int(mask.shape[-2]), int(mask.shape[-1]))).shape
    if mask.shape == grid:
        return mask
    if not bool((mask == mask[:1]).all()):
        raise InputError(
            f"a mask of points for a law of whole lines ({type(pattern).__name__})", where="mask",
            remedy="Thin each scan by the law that it was measured with (in a mixture, that of its component)",
        )  # fmt: skip
    return mask[:1]


def _same_grid(measured: Tensor, calibration: Tensor) -> None:
    """A law of lines would thin a copy of a line mask over rows point by point, with a wrong q."""
    if measured.shape != calibration.shape:
        raise ValueError(f"a mask of {tuple(measured.shape)} on a grid of {tuple(calibration.shape)}: see `units`")


def _choose(candidates: Tensor, count: int, rng: Generator) -> Tensor:
    """`count` of the True units, uniformly without replacement."""
    score = torch.rand(candidates.shape, generator=rng).masked_fill(~candidates, -1.0)
    chosen = torch.zeros(candidates.numel(), dtype=torch.bool)
    chosen[score.flatten().topk(count).indices] = True
    return chosen.reshape(candidates.shape)


def _thin_uniformly(measured: Tensor, calibration: Tensor, keep: float, rng: Generator) -> Tensor:
    """Keep a fixed share of the units beyond the calibration; at least one is dropped."""
    _same_grid(measured, calibration)
    free = measured & ~calibration
    total = int(free.sum())
    kept = min(round(keep * total), total - 1)
    return (measured & calibration) | _choose(free, max(kept, 0), rng)


def _given_counts(shown: Tensor, measured: Tensor, calibration: Tensor) -> Tensor:
    """q = d / (N - K̃): d dropped of the N candidates, K̃ shown. Exact where units are exchangeable."""
    _same_grid(measured, calibration)
    candidates = int((~calibration).sum())
    kept, dropped = int((shown & ~calibration).sum()), int((measured & ~shown & ~calibration).sum())
    q = dropped / max(candidates - kept, 1)
    return torch.where(shown | calibration, 1.0, q)


def _given_independent(shown: Tensor, probability: Tensor, keep: float) -> Tensor:
    """q = P(1-P̃) / (1 - P P̃) for independent units."""
    q = probability * (1 - keep) / (1 - probability * keep).clamp_min(1e-12)
    return torch.where(shown, 1.0, q)


@lru_cache(maxsize=64)
def _centre(size: int, count: int) -> Tensor:
    """`count` indices around the centre size//2, bool `(size,)`."""
    inside = torch.zeros(size, dtype=torch.bool)
    low = size // 2 - count // 2
    inside[low : low + count] = True
    return inside


def _require(condition: bool, what: str, remedy: str) -> None:
    if not condition:
        raise InputError(what, where="pattern", remedy=remedy)


@dataclass(frozen=True)
class FullySampled:
    """Everything is measured; thinned like `law` (used for the clean-trained oracle of evaluations)."""

    law: Pattern

    def draw(self, shape: Shape, rng: Generator) -> Tensor:
        return torch.ones_like(self.law.calibration(shape))

    def probability(self, shape: Shape) -> Tensor:
        return torch.ones_like(self.law.calibration(shape), dtype=torch.float32)

    def calibration(self, shape: Shape) -> Tensor:
        return self.law.calibration(shape)

    def thin(self, measured: Tensor, keep: float, rng: Generator) -> Tensor:
        """Ã as if A had been drawn from `law`: the same inputs as an undersampled training sees."""
        shape = (int(measured.shape[-2]), int(measured.shape[-1]))
        return self.law.thin(self.law.draw(shape, rng) & measured, keep, rng)

    def given(self, shown: Tensor, measured: Tensor, keep: float) -> Tensor:
        return torch.ones_like(shown, dtype=torch.float32)


@dataclass(frozen=True)
class Pixels:
    """Each pixel is missing with probability `missing`, independently (Daras et al. 2023)."""

    missing: float

    def __post_init__(self) -> None:
        _require(0 < self.missing < 1, f"missing = {self.missing}", "Give a probability between 0 and 1")

    def draw(self, shape: Shape, rng: Generator) -> Tensor:
        return torch.rand(shape, generator=rng) >= self.missing

    def probability(self, shape: Shape) -> Tensor:
        return torch.full(shape, 1 - self.missing)

    def calibration(self, shape: Shape) -> Tensor:
        return torch.zeros(shape, dtype=torch.bool)

    def thin(self, measured: Tensor, keep: float, rng: Generator) -> Tensor:
        return _thin_uniformly(measured, torch.zeros_like(measured), keep, rng)

    def given(self, shown: Tensor, measured: Tensor, keep: float) -> Tensor:
        return _given_counts(shown, measured, torch.zeros_like(measured))


@dataclass(frozen=True)
class Blocks:
    """`count` rectangles of `height` × `width` (fractions of the field of view) are missing.

    D removes `count` further rectangles of the same law. Given the two sets of rectangles, either was
    A's with probability ½, so q = ½ where exactly one set covers; what both cover is never measured.
    """

    height: float
    width: float
    count: int = 1

    def __post_init__(self) -> None:
        sides = 0 < self.height < 1 and 0 < self.width < 1 and self.count >= 1
        _require(sides, f"block {self.height} x {self.width} x {self.count}", "Sides are fractions between 0 and 1")

    def _sides(self, shape: Shape) -> Shape:
        return max(round(self.height * shape[0]), 1), max(round(self.width * shape[1]), 1)

    def draw(self, shape: Shape, rng: Generator) -> Tensor:
        tall, wide = self._sides(shape)
        measured = torch.ones(shape, dtype=torch.bool)
        for _ in range(self.count):
            top = int(torch.randint(shape[0] - tall + 1, (1,), generator=rng))
            left = int(torch.randint(shape[1] - wide + 1, (1,), generator=rng))
            measured[top : top + tall, left : left + wide] = False
        return measured

    def probability(self, shape: Shape) -> Tensor:
        def covered(size: int, side: int) -> Tensor:
            j, places = torch.arange(size), size - side + 1
            first, last = (j - side + 1).clamp_min(0), j.clamp_max(places - 1)
            return (last - first + 1).clamp_min(0) / places

        tall, wide = self._sides(shape)
        return (1 - covered(shape[0], tall)[:, None] * covered(shape[1], wide)) ** self.count

    def calibration(self, shape: Shape) -> Tensor:
        return torch.zeros(shape, dtype=torch.bool)

    def thin(self, measured: Tensor, keep: float, rng: Generator) -> Tensor:
        return measured & self.draw((int(measured.shape[-2]), int(measured.shape[-1])), rng)

    def given(self, shown: Tensor, measured: Tensor, keep: float) -> Tensor:
        q = torch.where(shown, 1.0, 0.5)
        if self.count == 1 and bool((~shown).any()):
            # Two h×w rectangles shifted by (dy, dx) have a bounding box of (h+dy)×(w+dx) and overlap in its middle.
            tall, wide = self._sides((int(shown.shape[-2]), int(shown.shape[-1])))
            rows, columns = (~shown).any(1).nonzero(), (~shown).any(0).nonzero()
            top, bottom = int(rows.min()), int(rows.max()) + 1
            left, right = int(columns.min()), int(columns.max()) + 1
            q[bottom - tall : top + tall, right - wide : left + wide] = 0.0
        return q


@dataclass(frozen=True)
class _Cartesian:
    """A calibration region, and `acceleration` R = units of the grid / units measured, calibration included."""

    acceleration: float
    calibration_fraction: float = 0.08

    def __post_init__(self) -> None:
        _require(self.acceleration >= 1, f"acceleration {self.acceleration}", "Give R ≥ 1")
        inside = 0 <= self.calibration_fraction < 1
        _require(inside, f"calibration_fraction {self.calibration_fraction}", "Give a fraction in [0, 1)")

    def _grid(self, shape: Shape) -> Shape:
        return (1, shape[1])

    def calibration(self, shape: Shape) -> Tensor:
        return _centre(shape[1], round(self.calibration_fraction * shape[1]))[None].clone()

    def _free(self, shape: Shape) -> tuple[int, int]:
        """(units beyond the calibration that a scan measures, units beyond the calibration)."""
        centre = self.calibration(shape)
        free = int((~centre).sum())
        count = round(centre.numel() / self.acceleration) - (centre.numel() - free)
        _require(
            count >= 2 or self.acceleration == 1,
            f"R = {self.acceleration} leaves {max(count, 0)} units beyond {centre.numel() - free} of calibration",
            "Lower R or calibration_fraction: D needs something to drop",
        )
        return min(count, free), free

    def probability(self, shape: Shape) -> Tensor:
        count, free = self._free(shape)
        return torch.where(self.calibration(shape), 1.0, count / max(free, 1))

    def thin(self, measured: Tensor, keep: float, rng: Generator) -> Tensor:
        return _thin_uniformly(measured, self._calibration_of(measured), keep, rng)

    def _calibration_of(self, mask: Tensor) -> Tensor:
        return self.calibration((int(mask.shape[-2]), int(mask.shape[-1])))


class _Exchangeable(_Cartesian):
    """A fixed number of units, all equally likely."""

    def draw(self, shape: Shape, rng: Generator) -> Tensor:
        centre = self.calibration(shape)
        return centre | _choose(~centre, self._free(shape)[0], rng)

    def given(self, shown: Tensor, measured: Tensor, keep: float) -> Tensor:
        return _given_counts(shown, measured, self._calibration_of(measured))


@dataclass(frozen=True)
class RandomLines(_Exchangeable):
    """Phase-encode lines drawn uniformly without replacement, beside the calibration lines."""


@dataclass(frozen=True)
class RandomPoints(_Exchangeable):
    """Single k-space points drawn uniformly (two phase-encode axes), beside a calibration square."""

    def calibration(self, shape: Shape) -> Tensor:
        sides = [round(self.calibration_fraction * n) for n in shape]
        return _centre(shape[0], sides[0])[:, None] & _centre(shape[1], sides[1])


@dataclass(frozen=True)
class EquispacedLines(_Cartesian):
    """Every r-th line from a random offset, beside the calibration lines (as fastMRI's equispaced masks).

    r is chosen so that all lines together give the acceleration R. A single shown line reveals the
    offset, hence all of A: identifiable only through several coils, if at all.
    """

    def _step(self, shape: Shape) -> int:
        count, free = self._free(shape)
        return max(round(free / count), 1)

    def _comb(self, shape: Shape, offset: int) -> Tensor:
        lines = torch.zeros(1, shape[1], dtype=torch.bool)
        lines[:, offset :: self._step(shape)] = True
        return lines | self.calibration(shape)

    def draw(self, shape: Shape, rng: Generator) -> Tensor:
        return self._comb(shape, int(torch.randint(self._step(shape), (1,), generator=rng)))

    def probability(self, shape: Shape) -> Tensor:
        step = self._step(shape)
        return torch.stack([self._comb(shape, k) for k in range(step)]).float().mean(0)

    def given(self, shown: Tensor, measured: Tensor, keep: float) -> Tensor:
        shape = (int(measured.shape[-2]), int(measured.shape[-1]))
        combs = [self._comb(shape, k) for k in range(self._step(shape))]
        possible = [comb for comb in combs if not bool((shown & ~comb).any())] or combs
        return torch.stack(possible).float().mean(0).masked_fill(shown, 1.0)


@dataclass(frozen=True)
class GaussianLines(_Cartesian):
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
        return (low * density).clamp_max(0.95).masked_fill(centre, 1.0)

    def draw(self, shape: Shape, rng: Generator) -> Tensor:
        return torch.rand(self._grid(shape), generator=rng) < self.probability(shape)

    def thin(self, measured: Tensor, keep: float, rng: Generator) -> Tensor:
        calibration = self._calibration_of(measured)
        _same_grid(measured, calibration)
        dropped = torch.rand(measured.shape, generator=rng) >= keep
        return measured & (calibration | ~dropped)

    def given(self, shown: Tensor, measured: Tensor, keep: float) -> Tensor:
        shape = (int(measured.shape[-2]), int(measured.shape[-1]))
        return _given_independent(shown | self.calibration(shape), self.probability(shape), keep)


@dataclass(frozen=True)
class PoissonDisc(_Cartesian):
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
        return _given_counts(shown, measured, self._calibration_of(measured))


@lru_cache(maxsize=16)
def _poisson_probability(pattern: PoissonDisc, shape: Shape) -> Tensor:
    rng = Generator().manual_seed(0)
    return torch.stack([pattern.draw(shape, rng) for _ in range(200)]).float().mean(0)


@dataclass(frozen=True)
class EmpiricalLines:
    """Prospective scans whose law is not stated: P is the frequency of each line over the training masks."""

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
        calibration = self.calibration((1, int(measured.shape[-1])))
        _same_grid(measured, calibration)
        dropped = torch.rand(measured.shape, generator=rng) >= keep
        return measured & (calibration | ~dropped)

    def given(self, shown: Tensor, measured: Tensor, keep: float) -> Tensor:
        shape = (1, int(measured.shape[-1]))
        return _given_independent(shown | self.calibration(shape), self.probability(shape), keep)

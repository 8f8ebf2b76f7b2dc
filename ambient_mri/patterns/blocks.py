"""Missing rectangles of an image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from ambient_mri.patterns.law import Shape, require, shape_of


@dataclass(frozen=True)
class Blocks:
    """`count` rectangles of `height` × `width` (fractions of the field of view) are missing.

    D removes `count` further rectangles of the same law. Given the two sets of rectangles, either was
    A's with probability ½, so q = ½ where exactly one set covers; what both cover is never measured. Of one rectangle
    each, what is shown tells where both cover. Of more it does not, and q = ½ there too: their weights are right, and
    the identifiability check sees overlaps only where every scan has them (P(A_j) = 0).
    """

    height: float
    width: float
    count: int = 1

    def __post_init__(self) -> None:
        sides = 0 < self.height < 1 and 0 < self.width < 1 and self.count >= 1
        require(sides, f"block {self.height} x {self.width} x {self.count}", "Sides are fractions between 0 and 1")

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
        return measured & self.draw(shape_of(measured), rng)

    def given(self, shown: Tensor, measured: Tensor, keep: float, acquired: Tensor | None = None) -> Tensor:
        q = torch.where(shown, 1.0, 0.5)
        if self.count == 1 and bool((~shown).any()):
            # Two h×w rectangles shifted by (dy, dx) have a bounding box of (h+dy)×(w+dx) and overlap in its middle.
            tall, wide = self._sides(shape_of(shown))
            rows, columns = (~shown).any(1).nonzero(), (~shown).any(0).nonzero()
            top, bottom = int(rows.min()), int(rows.max()) + 1
            left, right = int(columns.min()), int(columns.max()) + 1
            q[bottom - tall : top + tall, right - wide : left + wide] = 0.0
        return q

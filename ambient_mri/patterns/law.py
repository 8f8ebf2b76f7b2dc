"""What every law of sampling states, and the law that measures everything."""

from __future__ import annotations

from dataclasses import dataclass
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

    def given(self, shown: Tensor, measured: Tensor, keep: float, acquired: Tensor | None = None) -> Tensor:
        """P(A_j = 1 | Ã shows `shown`); 1 where shown. `measured` only supplies counts.

        Outside `acquired` (None: everything) the scanner measures nothing, whatever the law says: q is not used there.
        """


def shape_of(mask: Tensor) -> Shape:
    """(y, x) of a mask."""
    return int(mask.shape[-2]), int(mask.shape[-1])


def units(pattern: Pattern, mask: Tensor) -> Tensor:
    """A mask over an image's grid as a mask of what the law measures as a whole: `(1, x)` of `(y, x)` for lines.

    Batches of scans with lines and with points hold line masks as copies over all rows.

    Raises
    ------
    InputError
        If lines were measured in part: the mask is of another law.
    """
    if mask.shape == pattern.calibration(shape_of(mask)).shape:
        return mask
    if not bool((mask == mask[:1]).all()):
        raise InputError(
            f"a mask of points for a law of whole lines ({type(pattern).__name__})", where="mask",
            remedy="Thin each scan by the law that it was measured with (in a mixture, that of its component)",
        )  # fmt: skip
    return mask[:1]


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
        return self.law.thin(self.law.draw(shape_of(measured), rng) & measured, keep, rng)

    def given(self, shown: Tensor, measured: Tensor, keep: float, acquired: Tensor | None = None) -> Tensor:
        return torch.ones_like(shown, dtype=torch.float32)


def require(condition: bool, what: str, remedy: str) -> None:
    """Refuses a parameter of a law that is out of range."""
    if not condition:
        raise InputError(what, where="pattern", remedy=remedy)

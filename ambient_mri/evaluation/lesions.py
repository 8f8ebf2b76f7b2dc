"""SIMULATION ONLY: small lesions of known size and brightness in images whose scans are simulated.

What an observer who knows the place and the size sees of one is a number: the mean of the disk less that of the ring
around it (not prewhitening; Barrett and Myers 2004, ch. 13).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from ambient_mri.measurement import Measurement
from ambient_mri.operators import keep
from ambient_mri.pictures import WHITE_QUANTILE

GAP, RING = 1.0, 3.0
"""From the edge of the disk to the inner and the outer edge of the ring, pixels."""
HEAD, TISSUE = 0.1, 0.6
"""Pixels above this share of white are of the head; those above this share of the head's median are tissue."""


@dataclass(frozen=True)
class Lesion:
    """A disk with an edge of one pixel, and the ring around it.

    Parameters
    ----------
    disk
        `(y, x)`, 1 inside.
    ring
        Bool `(y, x)`.
    amplitude
        How much is added inside, in normalised units.
    """

    disk: Tensor
    ring: Tensor
    amplitude: float

    @classmethod
    def around(cls, centre: tuple[int, int], diameter: float, shape: tuple[int, int], amplitude: float = 1) -> Lesion:
        """At a pixel of an image of `shape`; the diameter is in pixels."""
        y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in shape), indexing="ij")
        beyond = torch.hypot(y - centre[0], x - centre[1]) - diameter / 2
        return cls((0.5 - beyond).clamp(0, 1), (beyond > GAP) & (beyond <= RING), amplitude)

    def seen(self, image: Tensor) -> float:
        """Disk less ring of an image `(y, x)`, in units of the amplitude: 1 of the lesion alone, 0 of a constant."""
        inside = (self.disk * image).sum() / self.disk.sum() - image[self.ring].mean()
        return float(inside * self.disk.sum() / self.disk.square().sum() / self.amplitude)


def brightness(truth: Tensor) -> float:
    """Median magnitude of the head in a slice `(y, x)`."""
    return float(truth[truth > HEAD * truth.quantile(WHITE_QUANTILE)].median())


def place(truth: Tensor, diameter: float, rng: Generator) -> tuple[int, int] | None:
    """A pixel of a magnitude image `(y, x)` around which all is tissue as far as the ring, or None if there is none."""
    reach = math.ceil(diameter / 2 + RING)
    dark = (truth < TISSUE * brightness(truth)).float()[None, None]
    padded = torch.nn.functional.pad(dark, (reach,) * 4, value=1.0)  # beyond the image is no tissue
    free = torch.nn.functional.max_pool2d(padded, 2 * reach + 1, stride=1)[0, 0] == 0
    places = free.nonzero()
    if not len(places):
        return None
    row, column = places[int(torch.randint(len(places), (), generator=rng))].tolist()
    return row, column


def added(lesions: Sequence[Lesion]) -> Tensor:
    """What lesions add to magnitude images, `(b, 1, y, x)`."""
    return torch.stack([lesion.amplitude * lesion.disk for lesion in lesions])[:, None]


def with_lesions(measurement: Measurement, truth: Tensor, lesions: Sequence[Lesion]) -> Measurement:
    """The same scans with the same noise, of images that have a lesion each.

    Parameters
    ----------
    truth
        The images behind them `(b, 1, y, x)` complex64: a lesion has the phase of its place.
    """
    more = measurement.operator().forward((added(lesions) * torch.sgn(truth)).to(measurement.y.device))
    return replace(measurement, y=keep(measurement.mask, measurement.y + more))

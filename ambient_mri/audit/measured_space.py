"""Images beside scans in what each scan measured (T3): whitened, and without what all patients share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ambient_mri.audit.cohort import Side
from ambient_mri.audit.scoring import Closest
from ambient_mri.audit.similarity import RANKED_AGAIN, Whitening, measured_similarity
from ambient_mri.measurement import Measurement

Array = npt.NDArray[np.float64]
Progress = Callable[[str], None]
IMAGES = 2048


@dataclass(frozen=True)
class MeasuredSpace:
    """What comparisons need to know of all patients, training and hold-out together.

    Of the hold-out alone it would not do: a scan that was part of the mean is partly taken off itself, so that
    hold-out scans would look less like any image than training scans, and innocent models would be accused.

    Parameters
    ----------
    mean
        Mean image μ, `(1, 1, y, x)`, taken off on both sides: y - A μ and g - μ.
    whitening
        Of the scans.
    """

    mean: Tensor
    whitening: Whitening

    @classmethod
    def of(cls, train: Side, hold: Side) -> MeasuredSpace:
        """From the scans of both sides, which are treated alike."""
        pictures = torch.cat([train.pictures, hold.pictures])
        whitening = Whitening.of(chain(train.batches(), hold.batches()))
        return cls(pictures.mean(0, keepdim=True).to(torch.complex64), whitening)

    def closest_images(self, side: Side, images: Tensor, progress: Progress = lambda line: None) -> Closest:
        """For each scan of a side the most similar image, itself or its mirror image.

        Parameters
        ----------
        images
            `(m, 1, y, x)` complex, at root mean square .5.
        """
        return self._closest(side, images, len(side), 1, progress)

    def closest_to_sides(
        self, sides: tuple[Side, Side], images: Tensor, progress: Progress = lambda line: None
    ) -> tuple[Closest, Closest]:
        """`closest_images` of training and of hold-out."""
        train, hold = sides
        return self.closest_images(train, images, progress), self.closest_images(hold, images, progress)

    def closest_scans(self, side: Side, images: Tensor, progress: Progress = lambda line: None) -> Closest:
        """For each image the most similar scan of a side."""
        return self._closest(side, images, len(images), 0, progress)

    def _closest(self, side: Side, images: Tensor, count: int, axis: int, progress: Progress) -> Closest:
        """The largest similarity along an axis of the table of scans and images."""
        index, best = np.zeros(count, np.int64), np.full(count, -1.0)
        for scans, columns, rho in self._similarities(side, images, progress):
            own, others = (scans, columns) if axis == 1 else (columns, scans)
            found, highest = others.start + rho.argmax(axis), rho.max(axis)
            index[own] = np.where(highest > best[own], found, index[own])
            best[own] = np.maximum(highest, best[own])
        return Closest(index, best)

    def _similarities(self, side: Side, images: Tensor, progress: Progress) -> Iterator[tuple[slice, slice, Array]]:
        """(scans, images, ρ) block by block, so that memory stays bounded."""
        again, first = max(RANKED_AGAIN * IMAGES // max(2 * len(images), IMAGES), 8), 0
        for batch in side.batches():
            scans = self._less_mean(batch)
            for start in range(0, len(images), IMAGES // 2):
                part = images[start : start + IMAGES // 2]
                both = torch.cat([part, part.flip(-1)]) - self.mean
                rho = measured_similarity(scans, both, self.whitening, again=again)
                rows, columns = slice(first, first + len(batch)), slice(start, start + len(part))
                yield rows, columns, np.maximum(rho[:, : len(part)], rho[:, len(part) :])
            first += len(batch)
            if first % 160 < len(batch):
                progress(f"compared {first} of {len(side)} scans in measured space")

    def _less_mean(self, batch: Measurement) -> Measurement:
        rest = batch.without_unmeasured()
        return replace(rest, y=rest.y - batch.operator().forward(self.mean.expand(len(batch), -1, -1, -1)))

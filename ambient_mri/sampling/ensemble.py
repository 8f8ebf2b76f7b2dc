"""K posterior samples of every slice → mean, pixelwise standard deviation, credible intervals.

Slices and samples share batches. Sample k of a scan is decided by (scan id, k, seed) alone: neither the batch size nor
what else is reconstructed changes it. Samples 2j and 2j + 1 are mirror images (`noise.Mirrored`), so that the mean
of a few is as good as that of many.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Generator, Tensor

from ambient_mri.errors import InputError
from ambient_mri.randomness import stream
from ambient_mri.sampling.noise import Mirrored
from ambient_mri.sampling.observation import Observation


class Sampler(Protocol):
    """The signature that all posterior samplers share, see `mmps`."""

    def __call__(
        self, prior: object, observed: Observation, rngs: Sequence[Generator], levels: Sequence[float], *,
        strength: float = 1.0,
    ) -> Tensor: ...  # fmt: skip


@dataclass(frozen=True)
class Ensemble:
    """Posterior samples `(b, K, y, x)` complex64."""

    samples: Tensor

    @property
    def mean(self) -> Tensor:
        """`(b, 1, y, x)` complex: the estimate of least squared error."""
        return self.samples.mean(1, keepdim=True)

    @property
    def std(self) -> Tensor:
        """`(b, 1, y, x)`: standard deviation of the magnitude over samples.

        K in the denominator: the mean of mirrored samples takes up none of their spread.
        """
        self._several("standard deviation")
        return self.samples.abs().std(1, correction=0, keepdim=True)

    def interval(self, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """Lower and upper end `(b, 1, y, x)` of the central credible interval of the magnitude, pixel by pixel.

        Ends are order statistics at (K + 1) p (Weibull), so that with exact samples a new draw lies inside with
        probability `level`. With fewer than 2/(1 - level) - 1 samples (19 for .9) they are the extremes, which cover
        less: (K - 1)/(K + 1).
        """
        self._several("interval")
        ordered, count = self.samples.abs().sort(1).values, self.samples.shape[1]
        ends = []
        for share in ((1 - level) / 2, (1 + level) / 2):
            place = min(max(share * (count + 1) - 1, 0.0), count - 1.0)
            below, part = int(place), place - int(place)
            above = min(below + 1, count - 1)
            ends.append(torch.lerp(ordered[:, below], ordered[:, above], part)[:, None])
        return ends[0], ends[1]

    def _several(self, what: str) -> None:
        if self.samples.shape[1] < 2:
            raise InputError(f"one sample gives no {what}", where="samples", remedy="Draw --samples 2 or more")


def ensemble(
    sampler: Sampler, prior: object, observed: Observation, scan_ids: Sequence[str], levels: Sequence[float], *,
    samples: int, strength: float = 1.0, seed: int = 0, at_once: int = 32,
) -> Ensemble:  # fmt: skip
    """Draw `samples` posterior samples of every image that `observed` is of.

    Parameters
    ----------
    scan_ids
        One an image; they seed the draws.
    at_once
        Rows of a batch of the network: slices times samples. A volume is never divided.
    """
    if observed.A.slices > 1:
        volumes = [[_generator(scan_id, k, seed) for scan_id in scan_ids] for k in range(samples)]
        return Ensemble(torch.cat([sampler(prior, observed, rngs, levels, strength=strength) for rngs in volumes], 1))
    places = [(row, k) for row in range(len(observed)) for k in range(samples)]
    images = []
    for first in range(0, len(places), at_once):
        part = places[first : first + at_once]
        rngs = [_generator(scan_ids[row], k, seed) for row, k in part]
        images.append(sampler(prior, observed[[row for row, _ in part]], rngs, levels, strength=strength))
    return Ensemble(torch.cat(images).reshape(len(observed), samples, *observed.shape))


def _generator(scan_id: str, k: int, seed: int) -> Generator:
    rng = stream(seed, f"posterior samples {k // 2}", scan_id)
    return Mirrored().manual_seed(rng.initial_seed()) if k % 2 else rng

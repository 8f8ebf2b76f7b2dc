"""What one training step draws, as a function of (seed, step, position in the global batch) alone.

A resumed run, another split of the batch over processes, or another number of workers draws the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.utils.data import Sampler

from ambient_mri.corruption import Further, FurtherLaw
from ambient_mri.measurement import Measurement
from ambient_mri.prior.preconditioning import LOWEST_SIGMA
from ambient_mri.randomness import stream, white

SHARE_AT_USE, SHARE_NEAR_USE = 0.2, 0.6
"""Shares of draws at the noise level of reconstruction, and little above it; the others cover all levels that sampling
visits. At σ_y itself a scan says nothing about the noise of what D kept (see `objective.ambient_loss`): denoising at
use is learned from the levels just above, where as much noise is added as there is."""
NEAR_LOG_MEAN, NEAR_LOG_STD = -0.3, 0.6
"""ln of the noise added near use, in units of σ_y."""
LOG_MEAN, LOG_STD = -1.6, 1.5
"""ln of the noise added beyond σ_y (Karras et al. 2022, with a wider law since the images are half masked)."""
HIGHEST_SIGMA = 40.0


class Place(NamedTuple):
    """One sample of a training: its step, its position in the global batch, and the index of its scan."""

    step: int
    position: int
    scan: int

    def stream(self, seed: int) -> Generator:
        """Its generator."""
        return stream(seed, "training", self.step, self.position)


@dataclass(frozen=True)
class Batches(Sampler[list[Place]]):
    """Batches from step `first` on, without end: one seeded permutation of the scans after another, cut into batches.

    Of each global batch, process `rank` of `world` gets its contiguous share.
    """

    count: int
    batch: int
    seed: int
    first: int = 0
    rank: int = 0
    world: int = 1

    def __iter__(self) -> Iterator[list[Place]]:
        step, share = self.first, self.batch // self.world
        while True:
            positions = range(self.rank * share, (self.rank + 1) * share)
            yield [Place(step, position, self._scan(step * self.batch + position)) for position in positions]
            step += 1

    def _scan(self, nth: int) -> int:
        lap, within = divmod(nth, self.count)
        return int(_order(self.count, self.seed, lap)[within])


@lru_cache(maxsize=2)
def _order(count: int, seed: int, lap: int) -> Tensor:
    """The scans of one lap: drawn once, not for every sample of it."""
    return torch.randperm(count, generator=stream(seed, "order", lap))


@dataclass(frozen=True)
class Draw:
    """D, the noise level σ `(b,)` and white noise `(b, c, y, x)` of a batch."""

    further: Further
    sigma: Tensor
    noise: Tensor


def draw(measurement: Measurement, law: FurtherLaw, rngs: Sequence[Generator]) -> Draw:
    """D, σ and noise for a batch; sample i uses `rngs[i]` only."""
    further = law.draw(measurement.operator(), rngs, measurement.component, measurement.acquired)
    device = measurement.y.device
    sigmas, noises = [], []
    for noise_std, rng in zip(measurement.noise_std.tolist(), rngs, strict=True):
        least = max(noise_std, LOWEST_SIGMA)
        where, normal = float(torch.rand((), generator=rng)), float(torch.randn((), generator=rng))
        if where < SHARE_AT_USE:
            sigma = least
        elif where < SHARE_AT_USE + SHARE_NEAR_USE:
            sigma = least * math.hypot(1.0, math.exp(NEAR_LOG_MEAN + NEAR_LOG_STD * normal))
        else:
            sigma = math.hypot(noise_std, min(math.exp(LOG_MEAN + LOG_STD * normal), HIGHEST_SIGMA))
        sigmas.append(max(sigma, LOWEST_SIGMA))
        noises.append(white(tuple(measurement.y.shape[1:]), rng))
    return Draw(further, torch.tensor(sigmas, device=device), torch.stack(noises).to(device))

"""What one training step draws, as a function of (seed, step, position in the global batch) alone.

A resumed run, another split of the batch over processes, or another number of workers draws the same.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.utils.data import Sampler

from ambient_mri.corruption import Further, FurtherCorruption
from ambient_mri.measurement import Measurement
from ambient_mri.prior.preconditioning import LOWEST_SIGMA

SHARE_AT_USE = 0.5
"""Share of draws at the noise level of reconstruction; the others cover all levels that sampling visits."""
LOG_MEAN, LOG_STD = -1.6, 1.5
"""ln of the noise added beyond σ_y (Karras et al. 2022, with a wider law since the images are half masked)."""
HIGHEST_SIGMA = 40.0


def stream(seed: int, step: int, position: int) -> Generator:
    """The generator of one sample of one step."""
    digest = hashlib.sha256(f"{seed}/{step}/{position}".encode()).digest()
    return Generator().manual_seed(int.from_bytes(digest[:8], "little") >> 1)


@dataclass(frozen=True)
class Batches(Sampler[list[int]]):
    """Batches of scan indices from `first` on, without end: one seeded permutation after another, cut into batches.

    Of each global batch, process `rank` of `world` gets its contiguous share.
    """

    count: int
    batch: int
    seed: int
    first: int = 0
    rank: int = 0
    world: int = 1

    def __iter__(self) -> Iterator[list[int]]:
        step = self.first
        while True:
            share = self.batch // self.world
            start = step * self.batch + self.rank * share
            yield [self._scan(place) for place in range(start, start + share)]
            step += 1

    def _scan(self, place: int) -> int:
        lap, within = divmod(place, self.count)
        order = torch.randperm(self.count, generator=stream(self.seed, -1 - lap, 0))
        return int(order[within])


@dataclass(frozen=True)
class Draw:
    """D, the noise level σ `(b,)` and white noise `(b, c, y, x)` of a batch."""

    further: Further
    sigma: Tensor
    noise: Tensor


def draw(measurement: Measurement, law: FurtherCorruption, rngs: Sequence[Generator]) -> Draw:
    """D, σ and noise for a batch; sample i uses `rngs[i]` only."""
    further = law.draw(measurement.operator(), rngs)
    device = measurement.y.device
    sigmas, noises = [], []
    for noise_std, rng in zip(measurement.noise_std.tolist(), rngs, strict=True):
        at_use = float(torch.rand((), generator=rng)) < SHARE_AT_USE
        added = math.exp(LOG_MEAN + LOG_STD * float(torch.randn((), generator=rng)))
        sigma = max(noise_std, LOWEST_SIGMA) if at_use else math.hypot(noise_std, min(added, HIGHEST_SIGMA))
        sigmas.append(max(sigma, LOWEST_SIGMA))
        noises.append(white(tuple(measurement.y.shape[1:]), rng))
    return Draw(further, torch.tensor(sigmas, device=device), torch.stack(noises).to(device))


def white(shape: tuple[int, ...], rng: Generator) -> Tensor:
    """White complex noise, unit standard deviation per real component."""
    return torch.view_as_complex(torch.randn(*shape, 2, generator=rng))

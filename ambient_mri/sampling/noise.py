"""White noise for samplers, one generator a sample; mirrored generators negate it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from ambient_mri.randomness import white


class Mirrored(Generator):
    """Draws as a generator of the same seed does, but `draws` negates the noise.

    The mean of a sample and its mirror image has hardly any of the noise's error left (antithetic variates,
    Hammersley and Morton 1956), and each of the two is as much a sample as any other.
    """


def draws(shape: tuple[int, ...], rngs: Sequence[Generator]) -> Tensor:
    """`(b, *shape)` white noise, unit standard deviation per real component, row i from `rngs[i]`."""
    return torch.stack([-white(shape, rng) if isinstance(rng, Mirrored) else white(shape, rng) for rng in rngs])


def noise_like(x: Tensor, rngs: Sequence[Generator]) -> Tensor:
    """White noise of the shape and on the device of `x`."""
    return draws(tuple(x.shape[1:]), rngs).to(x.device)

"""What a copy may look like: changes of an image that leave it the image of the same slice.

The embedder learns to see through them, and planted copies are made with them to measure what an audit would find.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torch.nn import functional

DEGREES = 10.0
Change = Callable[[Tensor, Generator], Tensor]


def uniform(rows: int, low: float, high: float, rng: Generator) -> Tensor:
    """`(rows, 1, 1, 1)`."""
    return (low + (high - low) * torch.rand(rows, generator=rng))[:, None, None, None]


def moved(images: Tensor, degrees: Tensor, zoom: Tensor, shift: Tensor) -> Tensor:
    """Rotated, magnified and shifted by a fraction of the field of view; `(b, 1, y, x)`, `shift` `(b, 2)`."""
    angle = degrees.flatten() * math.pi / 180
    cos, sin = angle.cos() / zoom.flatten(), angle.sin() / zoom.flatten()
    theta = torch.stack([torch.stack([cos, -sin, 2 * shift[:, 0]], 1), torch.stack([sin, cos, 2 * shift[:, 1]], 1)], 1)
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def rotated(images: Tensor, rng: Generator) -> Tensor:
    """By up to ±10°."""
    rows = len(images)
    return moved(images, uniform(rows, -DEGREES, DEGREES, rng), torch.ones(rows), torch.zeros(rows, 2))


def shifted(images: Tensor, rng: Generator) -> Tensor:
    """By up to 6 % of the field of view along each axis."""
    rows = len(images)
    shift = 0.12 * torch.rand(rows, 2, generator=rng) - 0.06
    return moved(images, torch.zeros(rows), torch.ones(rows), shift)


def flipped(images: Tensor, rng: Generator) -> Tensor:
    """Left and right exchanged."""
    return images.flip(-1)


def gamma(images: Tensor, rng: Generator) -> Tensor:
    """Grey values to a power between .7 and 1.4."""
    return _power(images, torch.exp(uniform(len(images), math.log(0.7), math.log(1.4), rng)))


def _power(images: Tensor, exponent: Tensor) -> Tensor:
    peak = images.amax((1, 2, 3), keepdim=True).clamp_min(1e-12)
    return peak * (images.clamp_min(0) / peak) ** exponent


def blurred(images: Tensor, rng: Generator) -> Tensor:
    """By a Gaussian of one pixel."""
    taps = torch.exp(-torch.arange(-3, 4).float().square() / 2)
    taps = (taps / taps.sum()).to(images)
    once = functional.conv2d(functional.pad(images, (3, 3, 0, 0)), taps.view(1, 1, 1, 7))
    return functional.conv2d(functional.pad(once, (0, 0, 3, 3)), taps.view(1, 1, 7, 1))


def noisy(images: Tensor, rng: Generator) -> Tensor:
    """White noise of a tenth of the image's standard deviation."""
    spread = images.std((1, 2, 3), keepdim=True)
    return images + 0.1 * spread * torch.randn(images.shape, generator=rng)


def blended(share: float) -> Callable[[Tensor, Tensor], Tensor]:
    """`share` of an image and the rest of another: a partial copy."""
    return lambda images, others: share * images + (1 - share) * others


def biased(images: Tensor, rng: Generator) -> Tensor:
    """Under a smooth field of receive sensitivity, up to about ±30 %."""
    rows = len(images)
    y, x = (torch.linspace(-1, 1, n) for n in images.shape[-2:])
    plane = torch.stack([y[:, None].expand(len(y), len(x)), x.expand(len(y), len(x)), y[:, None] * x])
    field = torch.einsum("bk,kyx->byx", 0.4 * torch.rand(rows, 3, generator=rng) - 0.2, plane)
    return images * field.exp()[:, None]


def random_view(images: Tensor, rng: Generator) -> Tensor:
    """All of it at once, at random: a view that counts as the same slice in contrastive training."""
    rows = len(images)
    shift = 0.14 * torch.rand(rows, 2, generator=rng) - 0.07
    views = moved(images, uniform(rows, -DEGREES, DEGREES, rng), uniform(rows, 0.9, 1.15, rng), shift)
    views = torch.where(uniform(rows, 0, 1, rng) < 0.5, views.flip(-1), views)
    views = biased(gamma(views, rng), rng)
    views = torch.where(uniform(rows, 0, 1, rng) < 0.4, blurred(views, rng), views)
    spread = views.std((1, 2, 3), keepdim=True)
    level = uniform(rows, 0, 0.25, rng)
    return views + level * spread * torch.randn(views.shape, generator=rng)


EXACT: dict[str, Change] = {"exact": lambda images, rng: images}
MILD: dict[str, Change] = {
    "rotated ±10°": rotated, "flipped": flipped, "shifted": shifted, "gamma": gamma, "blurred": blurred, "noisy": noisy,
}  # fmt: skip
BLENDS = (0.8, 0.7, 0.6, 0.4, 0.25)

"""How much a set of images differs among itself: what a model that learns from its own samples loses first."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

IMAGES = 512
"""At most this many images are compared; their Gram matrix is dense."""


@dataclass(frozen=True)
class Diversity:
    """Of a set of images.

    Parameters
    ----------
    variance
        Mean over pixels of the variance over images (complex: both components): half the mean square distance of two.
    effective_number
        exp of the entropy of the normalised eigenvalues of the covariance: in how many directions images differ
        (Roy and Vetterli 2007; the Vendi score of Friedman and Dieng 2023 with a linear kernel).
    """

    variance: float
    effective_number: float


def diversity(images: Tensor, rng: Generator) -> Diversity:
    """Of `(n, 1, y, x)` complex or real images; where n is above 512, of as many drawn by `rng`. One image has none."""
    if len(images) > IMAGES:
        images = images[torch.randperm(len(images), generator=rng)[:IMAGES]]
    flat = images.flatten(1)
    flat = torch.view_as_real(flat).flatten(1) if flat.is_complex() else flat
    centred = flat.double() - flat.double().mean(0)
    pixels, count = images[0].numel(), len(images)
    gram = centred @ centred.T
    variance = float(gram.trace()) / (max(count - 1, 1) * pixels)
    share = torch.linalg.eigvalsh(gram).clamp_min(0)
    share = share / share.sum().clamp_min(1e-300)
    entropy = -float(torch.special.xlogy(share, share).sum())
    return Diversity(variance, float(torch.tensor(entropy).exp()) if variance > 0 else 1.0)

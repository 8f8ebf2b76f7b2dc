"""Features of images that need no trained weights: a wavelet scattering transform (Bruna and Mallat 2013).

Oriented wavelets, modulus, once or twice, averaged: stable where anatomy shifts and bends, sensitive to texture, edges
and their absence. Nothing is learned or downloaded, so that nobody's training set enters the yardstick. Any other
embedding of magnitude images can take its place.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ambient_mri.fourier import fft2c, ifft2c

Images = npt.NDArray[np.float32]
"""Magnitude images `(n, y, x)`."""
Features = npt.NDArray[np.float64]
"""One row an image, `(n, d)`."""
Embed = Callable[[Images], Features]

ORIENTATIONS, GRID, BATCH = 6, 4, 32
SMALLEST = 1e-3
"""Added before logarithms: a thousandth of the size of a normalised image."""


def scales(shape: tuple[int, int]) -> int:
    """Octaves of wavelets: the coarsest spans a quarter of the shorter side, at most 3."""
    return max(min(int(math.log2(min(shape))) - 2, 3), 1)


@lru_cache(maxsize=4)
def _wavelets(shape: tuple[int, int]) -> Tensor:
    """Frequency responses `(octave, orientation, y, x)`: Gaussian bumps at 3π/4 · 2^-j, none at frequency 0."""
    rows, columns = (2 * math.pi * (torch.arange(n) - n // 2) / n for n in shape)
    bank = []
    for octave in range(scales(shape)):
        centre, width = 0.75 * math.pi / 2**octave, 0.8 / 2**octave
        for turn in range(ORIENTATIONS):
            angle = math.pi * turn / ORIENTATIONS
            along = columns[None] * math.cos(angle) + rows[:, None] * math.sin(angle)
            across = rows[:, None] * math.cos(angle) - columns[None] * math.sin(angle)
            response = torch.exp(-((along - centre) ** 2 + (1.5 * across) ** 2) / (2 * width**2))
            response[shape[0] // 2, shape[1] // 2] = 0
            bank.append(response)
    return torch.stack(bank).reshape(-1, ORIENTATIONS, *shape)


def scattering(images: Images) -> Features:
    """Mean image on a 4 × 4 grid, and logarithms of first and second order scattering averaged over the image.

    64 × 64: 16 + 18 + 108 features.
    """
    parts = [_scattered(torch.as_tensor(images[i : i + BATCH])) for i in range(0, len(images), BATCH)]
    return torch.cat(parts).double().numpy()


def _scattered(images: Tensor) -> Tensor:
    bank = _wavelets((int(images.shape[-2]), int(images.shape[-1])))

    def passed(fields: Tensor, octave: int) -> Tensor:
        """|fields * ψ| for all orientations of an octave, `(…, orientation, y, x)`."""
        return ifft2c(fft2c(fields.to(torch.complex64))[..., None, :, :] * bank[octave]).abs()

    first = [passed(images, octave) for octave in range(len(bank))]
    found = [one.mean((-2, -1)) for one in first]
    found += [passed(first[a], b).mean((-2, -1)).flatten(1) for a, b in combinations(range(len(bank)), 2)]
    coarse = torch.nn.functional.adaptive_avg_pool2d(images[:, None], GRID).flatten(1)
    return torch.cat([coarse, *((one + SMALLEST).log() for one in found)], 1)


@dataclass(frozen=True)
class Axes:
    """Standardised features on the principal axes of a set of real images: few enough to estimate a covariance in."""

    mean: Features
    std: Features
    axes: Features

    @classmethod
    def of(cls, features: Features, most: int) -> Axes:
        """At most `most` axes, and no more than an eighth of the images."""
        mean, std = features.mean(0), np.maximum(features.std(0), 1e-6)
        _, _, axes = np.linalg.svd((features - mean) / std, full_matrices=False)
        return cls(mean, std, axes[: max(min(most, len(features) // 8), 2)])

    def __call__(self, features: Features) -> Features:
        placed: Features = ((features - self.mean) / self.std) @ self.axes.T
        return placed

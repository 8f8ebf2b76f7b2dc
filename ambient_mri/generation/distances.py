"""Distances between two sets, from one row of numbers an image. What each of them misses: docs/generation.md."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator

from ambient_mri.evaluation.features import Features, Images
from ambient_mri.fourier import fft2c

NEIGHBOURS = 3
PROJECTIONS = 256


def frechet(a: Features, b: Features) -> float:
    """Between Gaussians of the same means and covariances: |m - m'|² + tr(C + C' - 2 (C C')^½) (Dowson, Landau 1982).

    On features of a network it is the FID (Heusel et al. 2017). Too large for small sets, by about d/n times the trace.
    """
    difference = a.mean(0) - b.mean(0)
    covariances = [np.atleast_2d(np.cov(one, rowvar=False)) for one in (a, b)]
    values, vectors = np.linalg.eigh(covariances[0])
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ covariances[1] @ root), 0)).sum()
    return float(difference @ difference + np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * cross)


def kernel(a: Features, b: Features) -> float:
    """Squared maximum mean discrepancy of the kernel (x·y/d + 1)³, unbiased, so that it can be negative.

    On features of a network it is the KID (Bińkowski et al. 2018).
    """

    def gram(x: Features, y: Features) -> Features:
        values: Features = (x @ y.T / x.shape[1] + 1) ** 3
        return values

    def within(x: Features) -> float:
        values, count = gram(x, x), len(x)
        return float((values.sum() - np.trace(values)) / (count * (count - 1)))

    return within(a) + within(b) - 2 * float(gram(a, b).mean())


def project(images: Images, rng: Generator) -> Features:
    """Every image on 256 random directions of unit length, `(n, 256)`: what `sliced_wasserstein` compares."""
    pixels = images[0].size
    directions = torch.randn(pixels, PROJECTIONS, generator=rng)
    directions = directions / directions.norm(dim=0)
    projected: Features = (images.reshape(len(images), -1) @ directions.numpy()).astype(np.float64)
    return projected


def sliced_wasserstein(a: Features, b: Features) -> float:
    """Root mean square over directions of the 2-Wasserstein distance, of `project`ed images (Rabin et al. 2011)."""
    count = max(len(a), len(b))
    return float(np.sqrt(np.mean((_quantiles(a, count) - _quantiles(b, count)) ** 2)))


def _quantiles(values: Features, count: int) -> Features:
    """The levels (i + ½)/`count` of every column, `(count, d)`, linear between order statistics (Hazen)."""
    place = np.clip((np.arange(count) + 0.5) / count * len(values) - 0.5, 0, len(values) - 1)
    below = np.minimum(place.astype(int), max(len(values) - 2, 0))
    ordered, share = np.sort(values, axis=0), (place - below)[:, None]
    quantiles: Features = (1 - share) * ordered[below] + share * ordered[np.minimum(below + 1, len(values) - 1)]
    return quantiles


def radial_spectrum(images: Images) -> Features:
    """Mean power `(n, r)` of every image on rings of one frequency step, from 0 to the Nyquist frequency."""
    size = min(images.shape[-2:])
    rows, columns = (np.arange(n) - n // 2 for n in images.shape[-2:])
    radius = np.hypot(rows[:, None] / images.shape[-2], columns[None] / images.shape[-1]) * size
    ring = np.round(radius).astype(int).ravel()
    power = fft2c(torch.as_tensor(images).to(torch.complex64)).abs().square().reshape(len(images), -1).double().numpy()
    rings = range(size // 2 + 1)
    return np.stack([power[:, ring == r].mean(1) for r in rings], 1)


def spectrum(a: Features, b: Features) -> float:
    """Root mean square difference of the mean radial spectra in dB, of `radial_spectrum`s."""
    levels = [10 * np.log10(np.maximum(one.mean(0), 1e-12)) for one in (a, b)]
    return float(np.sqrt(np.mean((levels[0] - levels[1]) ** 2)))


@dataclass(frozen=True)
class Support:
    """Shares of a set that lie where the other does.

    `precision`: of the samples, near a real image; `recall`: of the real images, near a sample.
    """

    precision: float
    recall: float


def support(real: Features, samples: Features, neighbours: int = NEIGHBOURS) -> Support:
    """Improved precision and recall (Kynkäänniemi et al. 2019): within reach of the `neighbours`-th nearest neighbour.

    Both depend on the sizes of the sets: compare sets of one size, beside real ones of that size.
    """

    def distances(a: Features, b: Features) -> Features:
        squared = (a**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * a @ b.T
        clipped: Features = np.maximum(squared, 0)
        return clipped

    def reach(a: Features) -> Features:
        radius: Features = np.sort(distances(a, a), axis=1)[:, min(neighbours, len(a) - 1)]  # 0 is the image itself
        return radius

    across = distances(real, samples)
    covered = across <= reach(real)[:, None] * (1 + 1e-9)
    reached = across <= reach(samples)[None] * (1 + 1e-9)
    return Support(float(covered.any(0).mean()), float(reached.any(1).mean()))

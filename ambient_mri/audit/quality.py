"""Are the samples pictures of this kind at all? That a poor generator copies nobody clears nobody."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ambient_mri.audit.embedder import normalised
from ambient_mri.fourier import fft2c

Array = npt.NDArray[np.float64]
RINGS = 10
FLOOR = 0.5
"""Least share of samples that must lie in the range of real scans for their silence to mean something."""


@dataclass(frozen=True)
class Quality:
    """Share of samples within the range that holds 95 % of unseen real scans, and how much detail they have.

    `detail` is the median over samples of the energy in the outer two thirds of k-space, relative to real scans.
    """

    realistic: float
    detail: float

    @property
    def adequate(self) -> bool:
        """Whether the share reaches the floor."""
        return self.realistic >= FLOOR


def spectrum(pictures: Tensor) -> Array:
    """Log power of normalised pictures on ten rings of k-space, `(n, 10)`."""
    power = fft2c(normalised(pictures).to(torch.complex64)).abs().square()[:, 0]
    rows = torch.arange(power.shape[-2]) - power.shape[-2] // 2
    columns = torch.arange(power.shape[-1]) - power.shape[-1] // 2
    radius = (rows[:, None].square() + columns[None].square()).sqrt() / (power.shape[-1] // 2)
    ring = (radius * RINGS).long().clamp_max(RINGS - 1).flatten()
    count = torch.bincount(ring, minlength=RINGS)
    sums = torch.zeros(len(power), RINGS).index_add_(1, ring, power.flatten(1))
    return np.asarray((sums / count).clamp_min(1e-12).log().numpy(), np.float64)


def quality(samples: Array, real: Array) -> Quality:
    """Mahalanobis distance of samples to half of the real scans, in units of what the other half has.

    Parameters
    ----------
    samples, real
        `spectrum` of samples and of hold-out scans.
    """
    fitted, judged = real[::2], real[1::2]
    mean = fitted.mean(0)
    covariance = np.cov(fitted.T) + 1e-3 * np.eye(real.shape[1])
    precision = np.linalg.inv(covariance)

    def distance(rows: Array) -> Array:
        return np.asarray(np.sqrt(np.einsum("ni,ij,nj->n", rows - mean, precision, rows - mean)), np.float64)

    limit = np.quantile(distance(judged), 0.95)
    outer = slice(RINGS // 3, None)
    detail = np.exp(np.median(samples[:, outer].mean(1)) - np.median(real[:, outer].mean(1)))
    return Quality(float((distance(samples) <= limit).mean()), float(detail))

"""Noise of coils: prewhitening, and its level where no noise was scanned."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ambient_mri.errors import InputError


def prewhiten(y: Tensor, noise_scan: Tensor) -> Tensor:
    """Coils combined so that their noise is white with standard deviation 1 per real component.

    Parameters
    ----------
    y
        `(b, c, y, x)` complex k-space.
    noise_scan
        `(c, ...)` complex samples acquired without excitation, same coils.

    Returns
    -------
    L⁻¹ y with L Lᴴ = ½ E[n nᴴ] (Pruessmann et al., MRM 2001). Estimate maps after this step.

    Raises
    ------
    InputError
        If the coils differ or the noise scan has too few samples or a dead coil.
    """
    coils = y.shape[1]
    samples = noise_scan.reshape(noise_scan.shape[0], -1)
    if samples.shape[0] != coils:
        raise InputError(
            f"the noise scan has {samples.shape[0]} coils, the data {coils}", remedy="Use the noise scan of this exam"
        )
    covariance = samples @ samples.mH / (2 * samples.shape[1])
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if samples.shape[1] < 2 * coils or int(failed):
        raise InputError(
            f"the noise scan ({samples.shape[1]} samples) gives a singular covariance of {coils} coils",
            remedy="Leave dead coils out, or use a longer noise scan",
        )
    whitened: Tensor = torch.linalg.solve_triangular(factor, y.permute(1, 0, 2, 3).reshape(coils, -1), upper=False)
    return whitened.reshape(coils, y.shape[0], *y.shape[2:]).permute(1, 0, 2, 3)


def noise_std(samples: Tensor) -> float:
    """Standard deviation per real component of complex samples that are noise for the most part.

    From the median of |z|², which for white noise is 2σ² ln 2: a minority of samples with signal
    moves it little.
    """
    if samples.numel() == 0:
        raise InputError("no samples to estimate the noise from", remedy="State noise_std in the data spec")
    power = samples.abs().square().flatten().double()
    return math.sqrt(float(power.median()) / (2 * math.log(2)))


def edge_samples(y: Tensor, mask: Tensor, *, fraction: float = 0.06) -> Tensor:
    """Measured samples at both ends of the readout, where k-space holds little but noise: for `noise_std`.

    Parameters
    ----------
    y
        `(b, c, y, x)` complex k-space.
    mask
        Bool `(b, 1, 1, x)` or `(b, 1, y, x)`.
    fraction
        Of the readout (y), at each end. Scanners filter the outermost samples: compare with a
        noise scan where there is one.
    """
    rows = max(1, round(fraction * y.shape[-2]))
    measured = mask.expand(y.shape).clone()
    measured[..., rows : y.shape[-2] - rows, :] = False
    return y[measured]

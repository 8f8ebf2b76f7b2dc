"""The phase of the image, moved into the maps."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ambient_mri.coils.calibration import calibration_region
from ambient_mri.fourier import ifft2c
from ambient_mri.operators import keep


def absorb_phase(maps: Tensor, y: Tensor, mask: Tensor, *, fraction: float = 0.08) -> Tensor:
    """Maps times exp(iφ), φ the phase of the low-resolution image, so that images become nearly real.

    The low-resolution image is Σ_c S̄_c F⁻¹(h y_c) with a Hann window h over the measured
    calibration region only. Any phase that the maps had before cancels. (Prior art: the
    phase-constrained reconstruction of Bydder and Robson, MRM 2005.)

    Parameters
    ----------
    maps
        `(b, c, y, x)` complex.
    y
        `(b, c, y, x)` complex k-space; never read where `mask` is False.
    mask
        Bool `(b, 1, 1, x)` or `(b, 1, y, x)`.
    fraction
        Most of each axis that counts as low resolution: the phase of a fully sampled scan is as
        smooth as that of an undersampled one.

    Returns
    -------
    `(b, c, y, x)` complex64; unchanged for scans whose centre was not measured.
    """
    window = torch.stack([_low_resolution_window(m[0], (y.shape[-2], y.shape[-1]), fraction) for m in mask])[:, None]
    low = (maps.conj() * ifft2c(window * keep(window > 0, y))).sum(1, keepdim=True)
    phase = torch.polar(torch.ones_like(low.real), low.angle())
    return maps * phase


def _low_resolution_window(mask: Tensor, shape: tuple[int, int], fraction: float) -> Tensor:
    region = calibration_region(mask)
    window = torch.ones(1, device=mask.device)
    for axis, (n, span) in enumerate(zip(shape, region, strict=True)):
        distance = (torch.arange(n, device=mask.device) - n // 2).abs()
        if mask.shape[axis] == 1:
            half = n // 2
        else:
            half = min(n // 2 - span.start, span.stop - 1 - n // 2) if span.stop > span.start else -1
        half = min(half, max(round(fraction * n / 2), 2))
        profile = 0.5 + 0.5 * torch.cos(math.pi * distance / (half + 1)) if half >= 0 else torch.zeros_like(window)
        window = window[..., None] * torch.where(distance <= half, profile, 0.0)
    return window[0]

"""Scans in three dimensions, of which points (z, y) of the phase encodes are missing: aliasing runs across slices.

A prior of slices takes the slices of a volume for independent, p(x) = Π p(x_z); the operator A = M F S couples them,
so that every solve is of all slices together. Images are the batch `(z, 1, y, x)`, in normalised units of the volume.
"""

from __future__ import annotations

from dataclasses import replace

import sigpy as sp
import torch
from torch import Tensor

from ambient_mri.errors import InputError
from ambient_mri.operators import Masked, SigpyEncoding, from_sigpy
from ambient_mri.sampling.observation import Observation


def encoding(maps: Tensor, mask: Tensor) -> SigpyEncoding:
    """E x = M F (S_c x), F in three dimensions, from images `(z, 1, y, x)` to samples `(1, c, z·y, x)`.

    Parameters
    ----------
    maps
        `(z, c, y, x)` complex64.
    mask
        `(z, y)` bool: phase encodes that were measured; the readout is x.

    Raises
    ------
    InputError
        If they are not of one volume.
    """
    slices, coils, rows, columns = (int(n) for n in maps.shape)
    if mask.shape != (slices, rows):
        raise InputError(f"{tuple(mask.shape)} phase encodes for {slices} slices of {rows} rows", where="mask",
                         remedy="Say which were measured as (z, y)")  # fmt: skip
    shape = (coils, slices, rows, columns)
    coil_images = sp.linop.Multiply(shape[1:], maps.transpose(0, 1).contiguous().cpu().numpy())
    measured = sp.linop.Multiply(shape, mask[:, :, None].cpu().numpy())
    encoded = from_sigpy(measured * sp.linop.FFT(shape, axes=(-3, -2, -1)) * coil_images)
    return replace(encoded, coverage=float(mask.float().mean()))


def observation(y: Tensor, maps: Tensor, mask: Tensor, noise_std: float) -> Observation:
    """What samplers and the functions of `observed` are given of one volume.

    Parameters
    ----------
    y
        `(c, z, y, x)` complex64; values where `mask` is False are never read.
    noise_std
        σ_y per real component.
    """
    measured = torch.where(mask[:, :, None], y, 0).reshape(1, len(y), -1, y.shape[-1])
    everything = torch.ones(1, 1, 1, 1, dtype=torch.bool)
    shape = (int(maps.shape[-2]), int(maps.shape[-1]))
    return Observation(Masked(encoding(maps, mask), everything), measured, torch.tensor([noise_std]), shape)

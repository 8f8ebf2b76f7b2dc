"""Scans off the grid, such as radial ones: the same prior, the same solves, a NUFFT of sigpy as the encoding.

A prior learned from lines knows images, and how to be told what was measured only as (A, Aᴴy). A NUFFT is one more A:
x_λ = (N + λI)⁻¹ Aᴴy and P = (N + λI)⁻¹ N (see `prior.preconditioning`) mean the same for it, with no density
compensation, for samples that lie close count by their number. Images and noise are in normalised units.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import sigpy as sp
import torch
from torch import Tensor

from ambient_mri.errors import InputError
from ambient_mri.operators import Masked, SigpyEncoding, from_sigpy
from ambient_mri.sampling.observation import Observation

GOLDEN_ANGLE = math.pi * (math.sqrt(5) - 1) / 2
"""111.25°, from one spoke to the next (Winkelmann et al. 2007): any number of spokes covers the circle evenly."""

Coordinates = npt.NDArray[np.float32]
"""`(spokes, samples, 2)`: places in k-space along (y, x), in cycles per field of view, between -n/2 and n/2."""


def golden_angle(spokes: int, shape: tuple[int, int], *, oversampling: int = 2) -> Coordinates:
    """A radial trajectory whose spokes reach the edge of k-space of a `shape` (y, x) image.

    Parameters
    ----------
    oversampling
        Of the readout: samples lie 1/oversampling cycles apart.
    """
    samples = oversampling * max(shape)
    along = (np.arange(samples) - samples // 2) / samples
    angles = GOLDEN_ANGLE * np.arange(spokes)
    directions = np.stack([np.sin(angles), np.cos(angles)], -1)
    coordinates: Coordinates = (along[:, None] * directions[:, None] * np.array(shape)).astype(np.float32)
    return coordinates


def acceleration(coordinates: Coordinates, shape: tuple[int, int]) -> float:
    """Spokes that would sample the edge of k-space at the Nyquist rate, π n/2, over the spokes there are."""
    return math.pi / 2 * max(shape) / len(coordinates)


def encoding(maps: Tensor, coordinates: Coordinates) -> SigpyEncoding:
    """E x = NUFFT(S_c x) from images `(b, 1, y, x)` to samples `(b, c, spokes, samples)`.

    Parameters
    ----------
    maps
        Of one slice, `(c, y, x)` complex64.

    Raises
    ------
    InputError
        If a coordinate lies outside the k-space of the image, or is NaN.
    """
    shape = (int(maps.shape[-2]), int(maps.shape[-1]))
    if not (np.abs(coordinates) <= np.array(shape) / 2 + 1e-3).all():  # NaN lies nowhere
        raise InputError(
            f"coordinates reach {np.abs(coordinates).max():g}, beyond the k-space of {shape[0]} x {shape[1]} images",
            where="coordinates", remedy="State them in cycles per field of view, between -n/2 and n/2",
        )  # fmt: skip
    coils = sp.linop.Multiply(shape, maps.cpu().numpy())
    encoded = from_sigpy(sp.linop.NUFFT(tuple(maps.shape), coordinates) * coils)
    return replace(encoded, coverage=min(1 / acceleration(coordinates, shape), 1.0))


def observation(y: Tensor, maps: Tensor, coordinates: Coordinates, noise_std: float) -> Observation:
    """What samplers and the functions below are given of one slice.

    Parameters
    ----------
    y
        `(1, c, spokes, samples)` complex64, all of it measured.
    noise_std
        σ_y per real component.
    """
    everything = torch.ones(1, 1, 1, 1, dtype=torch.bool)
    shape = (int(maps.shape[-2]), int(maps.shape[-1]))
    return Observation(Masked(encoding(maps, coordinates), everything), y, torch.tensor([noise_std]), shape)

"""What every reader of k-space hands on, and how three-dimensional k-space becomes slices."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ambient_mri.data.readers.ismrmrd_header import Header
from ambient_mri.errors import InputError
from ambient_mri.fourier import ifft1c

Affine = npt.NDArray[np.float64]
"""4×4, voxel (column, row, slice) → DICOM LPS mm, over the whole matrix of a volume."""


class KspaceVolume(Protocol):
    """One volume of k-space. `name` tells volumes of one file apart and names no patient.

    `shape` is (slices, coils, y, x); `mask` bool `(1, x)` or `(y, x)`, None where the file does not say what was
    measured; `acquired` bool `(1, x)`; `noise_std` per real component, None where it has to be estimated;
    `affine` None where the file states no geometry.
    """

    @property
    def path(self) -> Path: ...
    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> tuple[int, int, int, int]: ...
    @property
    def mask(self) -> Tensor | None: ...
    @property
    def acquired(self) -> Tensor: ...
    @property
    def header(self) -> Header | None: ...
    @property
    def noise_std(self) -> float | None: ...
    @property
    def affine(self) -> Affine | None: ...
    def __len__(self) -> int: ...
    def read(self, index: int, mask: Tensor) -> Tensor:
        """The measured samples of one slice, `(c, y, x)` complex64; exact zeros elsewhere."""


@dataclass(frozen=True)
class SampledVolume:
    """K-space in memory, or mapped from a file.

    Parameters
    ----------
    samples
        Complex `(slices, coils, y, x)`.
    """

    path: Path
    name: str
    samples: npt.NDArray[Any] = field(repr=False)
    mask: Tensor | None = field(repr=False)
    header: Header | None = None
    noise_std: float | None = None
    affine: Affine | None = None

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        slices, coils, y, x = self.samples.shape
        return slices, coils, y, x

    @property
    def acquired(self) -> Tensor:
        return torch.ones(1, self.samples.shape[-1], dtype=torch.bool)

    def read(self, index: int, mask: Tensor) -> Tensor:
        """See `KspaceVolume.read`.

        Raises
        ------
        InputError
            If a measured sample is NaN or infinite.
        """
        measured = np.where(mask.numpy(), self.samples[index], 0).astype(np.complex64)
        if not np.isfinite(measured).all():
            raise InputError(f"slice {index} holds NaN or infinity among its measured samples", where=str(self.path))
        return torch.from_numpy(measured)


@dataclass(frozen=True)
class ClosedVolume:
    """The facts of k-space whose samples are not in memory: small, also where it is sent to another machine."""

    path: Path
    name: str
    shape: tuple[int, int, int, int]
    mask: Tensor | None = field(repr=False)
    header: Header | None = None
    noise_std: float | None = None
    affine: Affine | None = None

    @classmethod
    def of(cls, volume: KspaceVolume) -> ClosedVolume:
        """Holds nothing of `volume` but its facts."""
        return cls(volume.path, volume.name, volume.shape, volume.mask, volume.header, volume.noise_std, volume.affine)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def acquired(self) -> Tensor:
        return torch.ones(1, self.shape[-1], dtype=torch.bool)

    def read(self, index: int, mask: Tensor) -> Tensor:
        """Always refuses: a slice of it would be made up.

        Raises
        ------
        ValueError
            Whoever needs samples opens the volume first.
        """
        raise ValueError(f"slice {index} of {self.name} was asked for before its samples were read")


@dataclass(frozen=True)
class Sliced:
    """Three-dimensional k-space after the exact inverse transform along one axis of it.

    Parameters
    ----------
    samples
        Complex64 `(slices, coils, rows, columns)`.
    mask
        Bool `(1, columns)` or `(rows, columns)`, the same for every slice; None where it was not known.
    axes
        Which of the axes (z, y, x) of the 3-D matrix became (slices, rows, columns).
    """

    samples: npt.NDArray[np.complex64]
    mask: Tensor | None
    axes: tuple[int, int, int]

    def permuted(self, affine: Affine | None) -> Affine | None:
        """The affine of the 3-D matrix, (column x, row y, slice z), for these slices."""
        if affine is None:
            return None
        slices, rows, columns = (2 - axis for axis in self.axes)  # the affine counts from x
        return affine[:, [columns, rows, slices, 3]]


def sliced(samples: npt.NDArray[np.complex64], mask: npt.NDArray[np.bool_] | None, where: str) -> Sliced:
    """Slices of 3-D k-space along an axis that is measured completely, by the inverse transform along it.

    The partition axis z is taken where every line is measured in all partitions or in none: slices then have line
    masks. Otherwise the readout y: its samples are always complete, and slices have masks of points (z, x).

    Parameters
    ----------
    samples
        Complex64 `(coils, z, y, x)`, y the readout. Transformed coil by coil; the array is overwritten.
    mask
        Bool `(z, x)`; None: not known, z is taken.

    Raises
    ------
    InputError
        If the mask does not fit.
    """
    coils, z, _, x = samples.shape
    if mask is not None and mask.shape != (z, x):
        raise InputError(f"a mask of {mask.shape} for {z} x {x} phase-encode steps", where=where)
    along_z = mask is None or bool((mask == mask[:1]).all())
    for coil in range(coils):
        image = torch.from_numpy(samples[coil])
        axis = 0 if along_z else 1
        image.copy_(ifft1c(image.transpose(axis, -1)).transpose(axis, -1))
    if along_z:
        line_mask = None if mask is None else torch.from_numpy(mask[:1].copy())
        return Sliced(samples.transpose(1, 0, 2, 3), line_mask, (0, 1, 2))
    assert mask is not None
    return Sliced(samples.transpose(2, 0, 1, 3), torch.from_numpy(mask.copy()), (1, 0, 2))

"""A volume of an MRD file: its acquisitions put in their places, averaged and whitened, a slice at a time."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ambient_mri.coils import prewhiten
from ambient_mri.data.readers.hdf5 import opened
from ambient_mri.data.readers.ismrmrd_header import Header
from ambient_mri.data.readers.kspace import Affine, SampledVolume, sliced
from ambient_mri.errors import InputError
from ambient_mri.fourier import central


@dataclass(frozen=True)
class Places:
    """Where acquisitions go: rows of the file, slice numbers, lines, partitions; and the first sample of each."""

    rows: npt.NDArray[np.intp]
    slices: npt.NDArray[np.intp]
    lines: npt.NDArray[np.intp]
    partitions: npt.NDArray[np.intp]
    first_sample: int


@dataclass(frozen=True)
class MRDVolume:
    """A volume of an MRD file; slices are read when asked for. See `KspaceVolume`.

    Samples are in units of the noise scan's σ where the file brings one, with white coils.
    """

    path: Path
    name: str
    group: str
    header: Header
    places: Places = field(repr=False)
    slices: tuple[int, ...]
    shape: tuple[int, int, int, int]
    heads: npt.NDArray[Any] = field(repr=False)
    noise: Tensor | None = field(repr=False)
    one_sample_std: float | None
    affine: Affine | None

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def noise_std(self) -> float | None:
        """σ of the line that was averaged least, per real component."""
        if self.one_sample_std is None:
            return None
        steps = np.stack([self.places.slices, self.places.partitions, self.places.lines])
        times: int = np.unique(steps, axis=1, return_counts=True)[1].min()
        return float(self.one_sample_std / times**0.5)

    @cached_property
    def mask(self) -> Tensor:
        """Bool `(1, x)`, or `(y, x)` where echoes are asymmetric: what every slice measured."""
        masks = [self._counts(index, 1)[0] > 0 for index in range(len(self))]
        lines = torch.from_numpy(np.logical_and.reduce(masks))[None]
        samples = int(self.heads["number_of_samples"][0])
        if samples == self.shape[2]:
            return lines
        readout = torch.zeros(self.shape[2], 1, dtype=torch.bool)
        readout[self.places.first_sample : self.places.first_sample + samples] = True
        return readout & lines

    @property
    def acquired(self) -> Tensor:
        return torch.ones(1, self.shape[3], dtype=torch.bool)

    def read(self, index: int, mask: Tensor) -> Tensor:
        """See `KspaceVolume.read`.

        Raises
        ------
        InputError
            If the file is damaged, or a measured sample is NaN or infinite.
        """
        samples = torch.from_numpy(self._read(index, 1)[:, 0])
        if self.noise is not None:
            samples = prewhitened(samples, self.noise)
        measured = torch.where(mask, samples, torch.zeros((), dtype=torch.complex64))
        if not bool(torch.isfinite(torch.view_as_real(measured)).all()):
            raise InputError(f"slice {index} holds NaN or infinity among its measured samples", where=str(self.path))
        return measured

    def sliced(self, partitions: int) -> SampledVolume:
        """A 3-D volume as slices, oversampling of the readout removed where slices lie along it."""
        if len(self) > 1:
            raise InputError(f"{len(self)} slabs in one 3-D volume", where=str(self.path),
                             remedy="Write each slab to a file of its own")  # fmt: skip
        if int(self.heads["number_of_samples"][0]) != self.shape[2]:
            raise InputError("asymmetric echoes of 3-D k-space cannot be cut into slices", where=str(self.path))
        mask = self._counts(0, partitions) > 0
        samples = self._read(0, partitions)
        if self.noise is not None:
            samples = prewhitened(torch.from_numpy(samples), self.noise).numpy()
        if not np.isfinite(samples).all():
            raise InputError("the file holds NaN or infinity among its measured samples", where=str(self.path))
        cut = sliced(samples, mask, str(self.path))
        samples, affine, header = cut.samples, cut.permuted(self.affine), self.header
        if cut.axes[0] == 1:  # slices along the readout: its oversampled ends are outside the object
            kept = central(len(samples), min(self.header.kept[0], len(samples)))
            samples = samples[kept]
            if affine is not None:
                affine[:3, 3] += kept.start * affine[:3, 2]
            header = self.header.permuted((2, 1, 0))
        return SampledVolume(self.path, self.name, samples, cut.mask, header, self.noise_std, affine)

    def _counts(self, index: int, partitions: int) -> npt.NDArray[np.intp]:
        """How often each (partition, line) of a slice was acquired."""
        counts = np.zeros((partitions, self.shape[3]), dtype=np.intp)
        here = self.places.slices == self.slices[index]
        np.add.at(counts, (self.places.partitions[here], self.places.lines[here]), 1)
        return counts

    def _read(self, index: int, partitions: int) -> npt.NDArray[np.complex64]:
        """Averages, `(c, z, y, x)` complex64."""
        _, coils, readout, lines = self.shape
        here = np.flatnonzero(self.places.slices == self.slices[index])
        samples = np.zeros((coils, partitions, readout, lines), dtype=np.complex64)
        first = self.places.first_sample
        try:
            with opened(self.path) as file:
                stored = file[self.group]["data"].fields("data")[self.places.rows[here]]
            for place, line in zip(here, stored, strict=True):
                values = np.asarray(line, dtype=np.float32).view(np.complex64).reshape(coils, -1)
                at = self.places.partitions[place], slice(first, first + values.shape[1]), self.places.lines[place]
                samples[:, at[0], at[1], at[2]] += values
        except (ValueError, TypeError, RuntimeError):  # InputError, of what HDF5 cannot read, is a ValueError
            raise InputError(f"slice {index} cannot be read: lines are damaged", where=str(self.path)) from None
        counts = np.maximum(self._counts(index, partitions), 1)
        samples /= counts[None, :, None, :].astype(np.float32)
        return samples


def prewhitened(samples: Tensor, noise: Tensor) -> Tensor:
    """`coils.prewhiten` of `(c, ..., y, x)` for a noise scan `(c, n)`."""
    flat = samples.reshape(samples.shape[0], -1)
    whitened = prewhiten(flat[None, :, None], noise)[0, :, 0]
    return whitened.reshape(samples.shape)

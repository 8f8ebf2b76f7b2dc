"""fastMRI HDF5 files: k-space one slice at a time, and of it only what a mask measured.

Layout (Zbontar et al., arXiv 1811.08839): `kspace` complex `(slices, coils, y, x)`, or
`(slices, y, x)` from one coil, x the phase-encode axis; `mask` `(x,)` in undersampled files only;
`ismrmrd_header` XML. `reconstruction_rss` and other images in the files are never read.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ambient_mri.data.readers import SliceRecord, chosen_slices
from ambient_mri.data.readers.ismrmrd_header import Header, parse_header
from ambient_mri.errors import InputError

EXPECTED = "expected complex (slices, coils, y, x), or (slices, y, x) from one coil"


@dataclass(frozen=True)
class Volume:
    """A file whose facts were checked; samples are read by `read`.

    Parameters
    ----------
    shape
        (slices, coils, y, x).
    mask
        The file's own, bool `(1, x)` or `(y, x)`, or None for fully sampled files.
    acquired
        Bool `(1, x)`: lines that the scanner acquired at all; the others are padding.
    patient
        From the file, or its stem.
    offset
        Byte at which uncompressed, contiguous samples start; None otherwise.
    noise_std
        Per real component, in the units of the samples, if the file states it.
    contrast
        What the file calls its acquisition, "AXT2" for example.
    """

    path: Path
    shape: tuple[int, int, int, int]
    dtype: np.dtype[Any] = field(repr=False)
    mask: Tensor | None = field(repr=False)
    acquired: Tensor = field(repr=False)
    header: Header | None
    patient: str
    offset: int | None
    chunks: tuple[int, ...] | None
    compression: str | None
    noise_std: float | None
    contrast: str = field(default="", repr=False)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def name(self) -> str:
        """The stem of the file."""
        return self.path.stem

    @property
    def affine(self) -> None:
        """fastMRI files state no geometry."""

    def read(self, index: int, mask: Tensor) -> Tensor:
        """The measured samples of one slice, `(c, y, x)` complex64; exact zeros elsewhere.

        Parameters
        ----------
        mask
            Bool `(1, x)` or `(y, x)`, True = measured.

        Raises
        ------
        InputError
            If the file is truncated, or a measured sample is NaN or infinite.
        """
        try:
            measured = np.where(mask.numpy(), self._slice(index), 0).astype(np.complex64, copy=False)
        except (OSError, ValueError) as problem:
            raise InputError(f"slice {index} cannot be read: {problem}", where=str(self.path)) from None
        # the sum of squares is finite only if all are, and four times as fast; very large samples overflow it
        if not np.isfinite(np.vdot(measured, measured)) and not np.isfinite(measured).all():
            raise InputError(f"slice {index} holds NaN or infinity among its measured samples", where=str(self.path))
        return torch.from_numpy(measured)

    def _slice(self, index: int) -> npt.NDArray[Any]:
        """As stored, `(c, y, x)`: not copied where samples lie in one block of the file."""
        samples: npt.NDArray[Any]
        if self.offset is not None:
            samples = np.memmap(self.path, dtype=self.dtype, mode="r", offset=self.offset, shape=self.shape)[index]
        else:
            with h5py.File(self.path, "r") as file:
                samples = file["kspace"][index].reshape(self.shape[1:])
        return samples


def is_fastmri(path: Path) -> bool:
    """Whether the file is HDF5 that holds `kspace`, by content."""
    try:
        with h5py.File(path, "r") as file:
            return "kspace" in file
    except OSError:
        return False


def open_volume(path: Path) -> Volume:
    """Check the facts of a file; no sample is read.

    Raises
    ------
    InputError
        If the file is missing, truncated or no HDF5, if its axes are in another order, or if the mask
        does not fit k-space.
    """
    if not path.is_file():
        raise InputError("there is no such file", where=str(path))
    try:
        with h5py.File(path, "r") as file:
            return _checked(path, file)
    except OSError as problem:
        truncated = "truncated" in str(problem)
        what = "the HDF5 file is truncated" if truncated else f"cannot be read as HDF5: {problem}"
        raise InputError(what, where=str(path), remedy="Copy or download it again" if truncated else "") from None


def list_slices(root: Path, *, folders: Sequence[str], slices: str | tuple[float, float]) -> list[SliceRecord]:
    """The slices of every `*.h5` in `folders` under `root`.

    Raises
    ------
    InputError
        If two files share a name: identities would, too.
    """
    paths = sorted((path for folder in folders for path in (root / folder).glob("*.h5")), key=lambda p: p.name)
    for one, other in pairwise(paths):
        if one.name == other.name:
            raise InputError(f"two files are called {one.name}", where=f"{one.parent}, {other.parent}")
    records = []
    for path in paths:
        volume = open_volume(path)
        records += [SliceRecord(path.stem, i, volume.patient, path) for i in chosen_slices(slices, len(volume))]
    return records


def _checked(path: Path, file: Any) -> Volume:
    if "kspace" not in file:
        raise InputError(f"no dataset 'kspace'; the file holds {', '.join(file) or 'nothing'}", where=str(path))
    kspace = file["kspace"]
    header = _header(file, path)
    shape = _four_axes(kspace, header, path)
    stored = kspace.id.get_offset() if kspace.chunks is None else None
    patient = file.attrs.get("patient_id", path.stem)
    noise = file.attrs.get("noise_std")
    return Volume(
        path=path,
        shape=shape,
        dtype=kspace.dtype,
        mask=_mask(file, shape, path),
        acquired=_acquired(file, shape),
        header=header,
        patient=patient.decode() if isinstance(patient, bytes) else str(patient),
        offset=stored,
        chunks=kspace.chunks,
        compression=kspace.compression,
        noise_std=None if noise is None else float(noise),
        contrast=str(file.attrs.get("acquisition", "")),
    )


def _four_axes(kspace: Any, header: Header | None, path: Path) -> tuple[int, int, int, int]:
    """(slices, coils, y, x), once it is sure that the axes lie in this order."""
    shape = tuple(int(n) for n in kspace.shape)
    where = f"{path}: kspace"
    if not np.issubdtype(kspace.dtype, np.complexfloating):
        raise InputError(f"{kspace.dtype} {shape}; {EXPECTED}", where=where)
    if len(shape) not in (3, 4) or 0 in shape:
        raise InputError(f"shape {shape} has {len(shape)} axes; {EXPECTED}", where=where)
    one_coil = len(shape) == 3
    slices, coils, y, x = (shape[0], 1, *shape[1:]) if one_coil else shape
    if not one_coil and coils > min(y, x):
        raise InputError(
            f"shape {shape} would mean {coils} coils of {y} x {x} samples; {EXPECTED}", where=where,
            remedy="Are the coils on another axis? Move them behind the slices",
        )  # fmt: skip
    if header is not None and y != (readout := header.encoded_matrix[0]) and readout in (x, slices, coils):
        raise InputError(
            f"shape {shape}: the header states {readout} readout samples, which are not on axis y; {EXPECTED}",
            where=where,
            remedy="The readout comes before the phase-encode axis",
        )
    return slices, coils, y, x


def _mask(file: Any, shape: tuple[int, int, int, int], path: Path) -> Tensor | None:
    if "mask" not in file:
        return None
    values = np.asarray(file["mask"])
    y, x = shape[-2:]
    where = f"{path}: mask"
    values = values.reshape(1, -1) if values.ndim == 1 else values
    if values.shape not in ((1, x), (y, x)):
        fault = "longer than" if values.ndim == 2 and values.shape[1] > x else "of another shape than"
        raise InputError(
            f"the mask of shape {values.shape} is {fault} k-space; expected {x} lines, or {y} x {x} samples",
            where=where,
            remedy="Crop or pad mask and k-space together",
        )
    if not np.isin(values, (0, 1)).all():
        raise InputError("the mask holds values other than 0 and 1", where=where)
    if not values.any():
        raise InputError("nothing was measured: the mask is 0 everywhere", where=where)
    return torch.from_numpy(values.astype(bool))


def _acquired(file: Any, shape: tuple[int, int, int, int]) -> Tensor:
    """fastMRI pads k-space with empty lines up to the matrix size and says how many."""
    left, right = int(file.attrs.get("padding_left", 0)), int(file.attrs.get("padding_right", shape[-1]))
    line = torch.arange(shape[-1])
    return ((line >= left) & (line < right))[None]


def _header(file: Any, path: Path) -> Header | None:
    return parse_header(file["ismrmrd_header"][()], str(path)) if "ismrmrd_header" in file else None

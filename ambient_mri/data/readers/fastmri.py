"""fastMRI HDF5 files: k-space one slice at a time, and of it only what a mask measured.

Layout (Zbontar et al., arXiv 1811.08839): `kspace` complex `(slices, coils, y, x)`, or
`(slices, y, x)` from one coil, x the phase-encode axis; `mask` `(x,)` in undersampled files only;
`ismrmrd_header` XML. `reconstruction_rss` and other images in the files are never read.
"""

from __future__ import annotations

import math
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
from ambient_mri.data.readers.hdf5 import opened
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
        Bool `(1, x)`: lines that the scanner acquired at all; the others are padding, by the header's encoding limits.
    patient
        From the file, or its stem.
    offset
        Byte at which uncompressed, contiguous samples start; None otherwise.
    noise_std
        Per real component, in the units of the samples, if the file states it.
    contrast
        What the file calls its acquisition, "AXT2" for example.
    simulated
        Whether the file says that its k-space was made from images, as `data simulate` does.
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
    simulated: bool = False

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
        except (OSError, ValueError) as problem:  # InputError, of what HDF5 cannot read, is a ValueError
            said = problem.what if isinstance(problem, InputError) else problem
            raise InputError(f"slice {index} cannot be read: {said}", where=str(self.path)) from problem
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
            with opened(self.path) as file:
                samples = file["kspace"][index].reshape(self.shape[1:])
        return samples


def is_fastmri(path: Path) -> bool:
    """Whether the file is HDF5 that holds `kspace`, by content; `open_volume` says what is wrong with a damaged one."""
    try:
        with opened(path) as file:
            return "kspace" in file
    except InputError:
        return False


def open_volume(path: Path) -> Volume:
    """Check the facts of a file; no sample is read.

    Raises
    ------
    InputError
        If the file is missing, damaged or no HDF5, if its axes are in another order, if the mask does not fit
        k-space, or if an attribute is not what it should be.
    """
    with opened(path) as file:
        return _checked(path, file)


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
    kspace = _dataset(file, "kspace", path)
    if kspace is None:
        raise InputError(f"no dataset 'kspace'; the file holds {', '.join(file) or 'nothing'}", where=str(path))
    header = _header(file, path)
    shape = _four_axes(kspace, header, path)
    stored = kspace.id.get_offset() if kspace.chunks is None else None
    return Volume(
        path=path,
        shape=shape,
        dtype=kspace.dtype,
        mask=_mask(file, shape, path),
        acquired=_acquired(file, shape, header, path),
        header=header,
        patient=_text(file, "patient_id", path) or path.stem,
        offset=stored,
        chunks=kspace.chunks,
        compression=kspace.compression,
        noise_std=_noise_std(file, path),
        contrast=_text(file, "acquisition", path),
        simulated=bool(_attribute(file, "simulated", path)),
    )


def _dataset(file: Any, name: str, path: Path) -> Any:
    """The dataset of this name; None where the file has none."""
    if name not in list(file):  # `in file` does not see links that lead nowhere
        return None
    found = file.get(name)
    if not isinstance(found, h5py.Dataset):
        raise InputError("no dataset but a group, a link that leads nowhere, or damaged", where=f"{path}: {name}")
    return found


def _text(file: Any, name: str, path: Path) -> str:
    """An attribute of one text, or of a number that serves as a name; "" where the file has none."""
    value = _attribute(file, name, path)
    if not isinstance(value, str | bytes | int | float | None):
        raise InputError(f"expected text, not {type(value).__name__}", where=f"{path}: attribute {name}")
    raw = value if isinstance(value, bytes) else str("" if value is None else value).encode(errors="surrogateescape")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise InputError("the text is not UTF-8", where=f"{path}: attribute {name}") from None


def _number(file: Any, name: str, path: Path) -> float | None:
    """An attribute that holds one number; None where the file has none."""
    value = _attribute(file, name, path)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise InputError(f"expected one number, not {value!r:.40}", where=f"{path}: attribute {name}")
    return None if value is None else float(value)


def _attribute(file: Any, name: str, path: Path) -> Any:
    """As a Python object; MATLAB writes one value as an array of one."""
    value = file.attrs.get(name)
    if not isinstance(value, np.ndarray | np.generic):
        return value
    if value.size != 1:
        raise InputError(f"expected one value, not {value.size}", where=f"{path}: attribute {name}")
    return value.item()


def _noise_std(file: Any, path: Path) -> float | None:
    noise = _number(file, "noise_std", path)
    if noise is not None and not 0 <= noise < math.inf:
        raise InputError(f"{noise} is not a noise level (0 or more)", where=f"{path}: attribute noise_std")
    return noise


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
    mask = _dataset(file, "mask", path)
    if mask is None:
        return None
    y, x = shape[-2:]
    where = f"{path}: mask"
    if mask.dtype.kind not in "biuf":
        raise InputError(f"the mask holds {mask.dtype} instead of numbers", where=where)
    values = np.asarray(mask)
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


def _acquired(file: Any, shape: tuple[int, int, int, int], header: Header | None, path: Path) -> Tensor:
    """fastMRI pads k-space with empty lines up to the matrix size.

    How many is in the header's encoding limits, whose centre lies at n//2; attributes, where a file has them, go first.
    """
    x = shape[-1]
    first, end = 0, x
    if header is not None and header.lines is not None and header.encoded_matrix[1] == x:
        minimum, centre, maximum = header.lines
        if maximum > minimum:  # converters that know no limits write zeros
            first, end = x // 2 - centre + minimum, x // 2 - centre + maximum + 1
    left, right = _number(file, "padding_left", path), _number(file, "padding_right", path)
    left, right = first if left is None else left, end if right is None else right
    line = torch.arange(x)
    acquired = (line >= left) & (line < right)
    if not acquired.any():
        raise InputError(f"the padding {left:g} to {right:g} leaves none of {x} lines",
                         where=f"{path}: encoding limits, or attributes padding_left and padding_right")  # fmt: skip
    return acquired[None]


def _header(file: Any, path: Path) -> Header | None:
    header = _dataset(file, "ismrmrd_header", path)
    if header is None:
        return None
    text = header[()] if header.shape == () else None
    if not isinstance(text, str | bytes):
        raise InputError("expected one text, the XML of ISMRMRD", where=f"{path}: ismrmrd_header")
    return parse_header(text, str(path))

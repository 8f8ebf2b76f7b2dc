"""Magnitude images as volumes, and which of their pixels were measured.

Nobody guesses what is damaged: a mask file says so, or a value that the user names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from ambient_mri.data.readers.dicom import DicomVolume, open_volumes
from ambient_mri.data.readers.dicom_files import find_files, is_dicom
from ambient_mri.data.readers.kspace import Affine
from ambient_mri.data.readers.nifti import RAS_TO_LPS
from ambient_mri.errors import InputError

SAME_PLACE_MM = 0.1


class ImageVolume(Protocol):
    """Slices of magnitude images. `name` names no patient; `affine` is (column, row, slice) → LPS mm, or None.

    `voxel_mm` has (column, row, slice) sizes, which may be known without it; `notes` is what readers should know.
    """

    @property
    def name(self) -> str: ...
    @property
    def shape(self) -> tuple[int, int, int]: ...
    @property
    def affine(self) -> Affine | None: ...
    @property
    def voxel_mm(self) -> tuple[float, float, float] | None: ...
    @property
    def notes(self) -> tuple[str, ...]: ...
    @property
    def component(self) -> str: ...
    @property
    def paths(self) -> list[Path]: ...
    def __len__(self) -> int: ...
    def read(self, index: int) -> npt.NDArray[np.float32]:
        """Values of one slice `(rows, columns)`; NaN stays NaN."""


@dataclass(frozen=True)
class NiftiVolume:
    """A NIfTI volume as it lies in the file: slices along its last axis, rows along the second."""

    path: Path
    component: str = "MAGNITUDE"
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The file without its suffixes."""
        return self.path.name.removesuffix(".gz").removesuffix(".nii")

    @property
    def paths(self) -> list[Path]:
        """The file, and the other half of a pair."""
        return nifti_files(self.path)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(slices, rows, columns)."""
        columns, rows, slices = _nifti(self.path).shape
        return slices, rows, columns

    @property
    def affine(self) -> Affine | None:
        """None where both form codes say that the place is not known."""
        image = _nifti(self.path)
        known = int(image.header["sform_code"]) > 0 or int(image.header["qform_code"]) > 0
        return RAS_TO_LPS @ image.affine if known else None

    @property
    def voxel_mm(self) -> tuple[float, float, float] | None:
        """Of the header, whether the place is known or not; None if one of them is no size."""
        column, row, between = (float(size) for size in _nifti(self.path).header.get_zooms()[:3])
        return (column, row, between) if min(column, row, between) > 0 else None

    def __len__(self) -> int:
        return self.shape[0]

    def read(self, index: int) -> npt.NDArray[np.float32]:
        """See `ImageVolume.read`."""
        try:
            plane = np.asarray(_nifti(self.path).dataobj[..., index], dtype=np.float32)
        except Exception:
            raise InputError("cannot be read, perhaps truncated", where=str(self.path)) from None
        return np.ascontiguousarray(plane.T)


@dataclass(frozen=True)
class Missing:
    """How the user says which pixels are missing; exactly one of the two.

    Parameters
    ----------
    mask
        A file of the images' shape, 0 = missing, anything else = measured: NPY or PNG (`(y, x)` for all slices,
        `(slices, y, x)` for each), NIfTI or DICOM (put in place by their geometry).
    value
        The value that missing pixels have: a number, "nan", or "padding" for DICOM's Pixel Padding Value (and Range).
    """

    mask: Path | None = None
    value: float | str | None = None

    def measured(self, volume: ImageVolume) -> npt.NDArray[np.bool_]:
        """Bool `(slices, y, x)`, True = measured.

        Raises
        ------
        InputError
            If nothing is said, it does not fit the images, or nothing or everything is missing.
        """
        where = str(volume.paths[0])
        if (self.mask is None) == (self.value is None):
            raise InputError("images: say which pixels are missing, in one way", where=where,
                             remedy="Give --mask FILE, or --missing padding, nan or a number")  # fmt: skip
        kept = self._by_value(volume, where) if self.mask is None else _mask_file(self.mask, volume)
        if kept.all():
            raise InputError("no pixel is missing: there is nothing to restore", where=where)
        empty = np.flatnonzero(~kept.any(axis=(1, 2)))
        if len(empty):
            raise InputError(f"slice {empty[0]} holds no measured pixel at all: there is nothing to restore it from",
                             where=where)  # fmt: skip
        return kept

    def _by_value(self, volume: ImageVolume, where: str) -> npt.NDArray[np.bool_]:
        if self.value == "padding":
            padding = [frame.padding for frame in volume.frames] if isinstance(volume, DicomVolume) else []
            if not isinstance(volume, DicomVolume) or None in padding:
                raise InputError("the images state no Pixel Padding Value", where=where,
                                 remedy="Give --missing with the value that missing pixels have")  # fmt: skip
            ranges = [limits for limits in padding if limits is not None]
            planes = [_outside(volume.stored(i), limits) for i, limits in enumerate(ranges)]
        elif self.value == "nan":
            planes = [~np.isnan(volume.read(i)) for i in range(len(volume))]
        else:
            planes = [volume.read(i) != np.float32(float(self.value or 0)) for i in range(len(volume))]
        return np.stack(planes)


def _outside(stored: npt.NDArray[Any], limits: tuple[int, int]) -> npt.NDArray[np.bool_]:
    outside: npt.NDArray[np.bool_] = (stored < limits[0]) | (stored > limits[1])
    return outside


def open_nifti(path: Path) -> NiftiVolume:
    """A NIfTI volume of three axes.

    Raises
    ------
    InputError
        If it is none.
    """
    _nifti(path)
    return NiftiVolume(path)


def nifti_files(path: Path) -> list[Path]:
    """The file, and behind it the samples where it is the header of a pair (`.hdr` and `.img`)."""
    files = {Path(holder.filename) for holder in _nifti(path).file_map.values()}
    return [path, *sorted(files - {path})]


def is_nifti(path: Path) -> bool:
    """By content: the magic of NIfTI-1 or NIfTI-2, also inside gzip."""
    import gzip
    import zlib

    try:
        with path.open("rb") as plain:
            start = plain.read(348)
        if start.startswith(b"\x1f\x8b"):
            with gzip.open(path) as unzipped:
                start = unzipped.read(348)
    except (OSError, EOFError, zlib.error):
        return False
    return start[344:347] in (b"n+1", b"ni1") or start[4:7] in (b"n+2", b"ni2")


def _nifti(path: Path) -> Any:
    import nibabel

    try:
        image: Any = nibabel.load(path)
    except Exception:
        raise InputError("cannot be read as NIfTI", where=str(path)) from None
    if len(image.shape) != 3 or np.issubdtype(image.get_data_dtype(), np.complexfloating):
        raise InputError(f"shape {image.shape}, {image.get_data_dtype()}: not a magnitude volume", where=str(path))
    return image


def _mask_file(path: Path, volume: ImageVolume) -> npt.NDArray[np.bool_]:
    if path.is_dir() or is_dicom(path):
        found, problems = open_volumes(find_files(path) if path.is_dir() else [path])
        if problems or len(found) != 1:
            raise problems[0] if problems else InputError(f"{len(found)} volumes, not one mask", where=str(path))
        values = _placed(found[0], volume, path)
    elif is_nifti(path):
        values = _placed(open_nifti(path), volume, path)
    else:
        values = _array(path)
    if values.shape == volume.shape[1:]:
        values = np.broadcast_to(values, volume.shape)
    if values.shape != volume.shape:
        raise InputError(f"a mask of {values.shape} for images of {volume.shape}", where=str(path),
                         remedy="Give (y, x) for all slices alike, or (slices, y, x)")  # fmt: skip
    return np.array(values != 0)


def _array(path: Path) -> npt.NDArray[Any]:
    from PIL import Image, UnidentifiedImageError

    try:
        if path.read_bytes()[:6] == b"\x93NUMPY":
            values: npt.NDArray[Any] = np.load(path, allow_pickle=False)
        else:
            with Image.open(path) as picture:
                values = np.asarray(picture.convert("L"))
    except FileNotFoundError:
        raise InputError("there is no such file", where=str(path)) from None
    except (OSError, ValueError, UnidentifiedImageError):
        raise InputError("not a mask: expected NPY, PNG, NIfTI or DICOM", where=str(path)) from None
    if not np.isfinite(values).all():
        raise InputError("the mask holds NaN or infinity", where=str(path))
    return values


def _placed(mask: ImageVolume, volume: ImageVolume, path: Path) -> npt.NDArray[np.float32]:
    """The mask's values in the voxel order of the images, by geometry: axes may be swapped or reversed."""
    values = np.stack([mask.read(i) for i in range(len(mask))])
    if mask.affine is None or volume.affine is None:
        return values
    try:
        order, signs = _alignment(mask.affine, volume.affine)
    except ValueError:
        order, signs = (0, 1, 2), (1, 1, 1)  # another grid: told below
    turned = values.transpose(2, 1, 0).transpose(order)  # (column, row, slice), as affines count
    change = np.zeros((4, 4))
    change[3, 3] = 1
    for axis, (old, sign) in enumerate(zip(order, signs, strict=True)):
        change[old, axis] = sign
        if sign < 0:
            turned = np.flip(turned, axis)
            change[old, 3] = turned.shape[axis] - 1
    far = np.abs(mask.affine @ change - volume.affine).max()
    result = turned.transpose(2, 1, 0)
    if result.shape != volume.shape or far > SAME_PLACE_MM:
        raise InputError("the mask does not lie where the images lie", where=str(path),
                         remedy="Resample it to their grid, or give NPY to be taken voxel by voxel")  # fmt: skip
    return result


def _alignment(mask: Affine, images: Affine) -> tuple[Sequence[int], Sequence[int]]:
    """For each axis of the images the axis of the mask along it, and its sign."""
    cosines = np.linalg.inv(mask[:3, :3]) @ images[:3, :3]
    order = [int(np.abs(cosines[:, axis]).argmax()) for axis in range(3)]
    if sorted(order) != [0, 1, 2]:
        raise ValueError("no permutation")
    return order, [1 if cosines[old, axis] > 0 else -1 for axis, old in enumerate(order)]

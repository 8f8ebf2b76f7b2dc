"""NIfTI volumes in BIDS layout, one axial slice at a time, oriented for display.

Rows run from anterior to posterior, columns from the patient's right to left: the radiological view.
"""

from __future__ import annotations

import csv
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ambient_mri.data.readers import SliceRecord, chosen_slices
from ambient_mri.data.readers.images import padding
from ambient_mri.errors import InputError

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""NIfTI's axes point right, anterior, superior; DICOM's left, posterior, superior."""


def list_slices(
    root: Path, *, suffix: str, slices: str | tuple[float, float], patient_column: str
) -> list[SliceRecord]:
    """The axial slices of every `sub-*/**/*_<suffix>.nii[.gz]`.

    Parameters
    ----------
    slices
        Fractions count from the feet to the head, in whichever of the two directions a file stores its slices.
    patient_column
        Column of `participants.tsv` with the same value for scans of the same patient; participants
        are patients where the file or the column is missing.
    """
    groups = {row["participant_id"]: row[patient_column] for row in participants(root) if row.get(patient_column)}
    records = []
    for path in sorted([*root.glob(f"sub-*/**/*_{suffix}.nii"), *root.glob(f"sub-*/**/*_{suffix}.nii.gz")]):
        participant = path.relative_to(root).parts[0]
        image = _load(path)
        axial = _axes(image)[0]
        count = image.shape[axial]
        downwards = image.affine[2, axial] < 0
        wanted = (1 - slices[1], 1 - slices[0]) if downwards and not isinstance(slices, str) else slices
        chosen = chosen_slices(wanted, count)
        who = groups.get(participant, participant)
        records += [SliceRecord(path.name.split(".nii")[0], i, who, path) for i in chosen]
    return records


def read_slice(path: Path, index: int) -> tuple[Tensor, Tensor]:
    """One axial slice, read without the rest of the volume where the file is not compressed.

    Returns
    -------
    image
        `(y, x)` float32.
    affine
        `(4, 4)` float64: (column, row, slice) → DICOM LPS mm.

    Raises
    ------
    InputError
        If the file is no 3-D NIfTI volume, is truncated, or the slice holds NaN.
    """
    image = _load(path)
    axial, rows, columns = _axes(image)
    if not 0 <= index < image.shape[axial]:
        raise InputError(f"slice {index} of a volume of {image.shape[axial]}", where=str(path))
    place: list[int | slice] = [slice(None)] * 3
    place[axial] = index
    try:
        plane = np.asarray(image.dataobj[tuple(place)], dtype=np.float32)
    except (OSError, EOFError, ValueError, zlib.error) as problem:
        raise InputError(f"cannot be read, perhaps truncated: {problem}", where=str(path)) from None
    if not np.isfinite(plane).all():
        raise InputError(f"slice {index} holds NaN or infinity", where=str(path))
    plane = plane.T if rows > columns else plane  # plane[r, c]
    affine = (RAS_TO_LPS @ image.affine)[:, [columns, rows, axial, 3]]
    affine[:3, 3] += index * affine[:3, 2]
    for axis, lps in ((0, 1), (1, 0)):  # rows towards posterior, columns towards left
        if affine[lps, 1 - axis] < 0:
            plane = np.flip(plane, axis)
            affine[:3, 3] += (plane.shape[axis] - 1) * affine[:3, 1 - axis]
            affine[:3, 1 - axis] *= -1
    return torch.from_numpy(np.array(plane, order="C")), torch.from_numpy(affine)


def slice_count(path: Path) -> int:
    """How many axial slices a volume has."""
    image = _load(path)
    return int(image.shape[_axes(image)[0]])


def resized_affine(affine: Tensor, shape: tuple[int, int], size: int) -> Tensor:
    """The affine after `images.resized` of a slice of `shape`."""
    top, left = padding(shape)
    factor = max(shape) / size
    change = torch.eye(4, dtype=affine.dtype)
    change[0, 0] = change[1, 1] = factor
    change[0, 3], change[1, 3] = (factor - 1) / 2 - left, (factor - 1) / 2 - top
    return affine @ change


def participants(root: Path) -> list[dict[str, str]]:
    """The rows of `participants.tsv` that name a participant; none where the file is missing."""
    table = root / "participants.tsv"
    if not table.is_file():
        return []
    with table.open(newline="", encoding="utf-8-sig") as lines:
        return [row for row in csv.DictReader(lines, delimiter="\t") if row.get("participant_id")]


def _load(path: Path) -> Any:
    import nibabel
    from nibabel.filebasedimages import ImageFileError

    try:
        image: Any = nibabel.load(path)
    except (OSError, EOFError, ImageFileError, ValueError) as problem:
        raise InputError(f"cannot be read as NIfTI: {problem}", where=str(path)) from None
    if len(image.shape) != 3:
        raise InputError(f"shape {image.shape} is not a volume of three axes", where=str(path))
    if np.issubdtype(image.get_data_dtype(), np.complexfloating):
        raise InputError("complex values are not a magnitude image", where=str(path))
    return image


def _axes(image: Any) -> tuple[int, int, int]:
    """The voxel axes nearest to inferior-superior, anterior-posterior and left-right."""
    import nibabel

    orient: Any = nibabel.orientations.io_orientation
    nearest: npt.NDArray[Any] = orient(image.affine)[:, 0]
    if np.isnan(nearest).any():
        raise InputError("the affine is singular", where=str(image.get_filename()))
    order = [int(axis) for axis in nearest]
    return order.index(2), order.index(1), order.index(0)

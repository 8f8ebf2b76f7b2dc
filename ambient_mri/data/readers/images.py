"""Folders of PNG, JPEG and NPY images, one image at a time; magnitude images brought to the size a spec asks for.

Colour becomes luminance, .299 R + .587 G + .114 B (ITU-R BT.601); an opacity channel is dropped.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ambient_mri.data.readers import SliceRecord
from ambient_mri.errors import InputError

SUFFIXES = (".png", ".jpg", ".jpeg", ".npy")
LUMINANCE = (0.299, 0.587, 0.114)


def list_slices(root: Path, *, patient: str) -> list[SliceRecord]:
    """Every image under `root`; an NPY file may hold a stack `(n, y, x)`.

    Parameters
    ----------
    patient
        "file": each file is a patient of its own; "folder": the files of a folder share one.
    """
    records = []
    for path in sorted(p for p in root.rglob("*") if p.suffix.lower() in SUFFIXES):
        name = path.relative_to(root).with_suffix("").as_posix()
        who = name if patient == "file" else path.parent.relative_to(root).as_posix()
        records += [SliceRecord(name, i, who, path) for i in range(_count(path))]
    return records


def read_slice(path: Path, index: int) -> Tensor:
    """One image `(y, x)`, float32, as stored (8-bit images: 0..255).

    Raises
    ------
    InputError
        If the file is not an image, is complex, or holds NaN.
    """
    if path.suffix.lower() == ".npy":
        array = _mapped(path)
        image = np.asarray(array[index] if _is_stack(array) else array)
    else:
        image = _decoded(path)
    if not (np.issubdtype(image.dtype, np.number) or image.dtype == np.bool_) or np.iscomplexobj(image):
        raise InputError(f"{image.dtype} values are not a magnitude image", where=str(path))
    image = image.astype(np.float32)
    if image.ndim == 3:
        colours = image[..., :3] if image.shape[-1] >= 3 else image[..., :1]
        image = colours @ np.array(LUMINANCE if colours.shape[-1] == 3 else (1.0,), dtype=np.float32)
    if image.ndim != 2:
        raise InputError(f"shape {image.shape} is not an image (y, x) or (y, x, colours)", where=str(path))
    if not np.isfinite(image).all():
        raise InputError("the image holds NaN or infinity", where=str(path))
    return torch.from_numpy(np.ascontiguousarray(image))


def middle(path: Path) -> int:
    """Number of the middle image of a stack; 0 of a single one."""
    return _count(path) // 2


def resized(image: Tensor, size: int, where: str) -> Tensor:
    """A square image of `size`: padded with zeros to a square, then averaged over areas.

    Raises
    ------
    InputError
        If the image is smaller than `size`: averaging cannot add detail.
    """
    height, width = image.shape
    side = max(height, width)
    if side < size:
        raise InputError(
            f"the image of {height} x {width} is smaller than image_size {size}", where=where, remedy="Lower image_size"
        )
    top, left = padding((height, width))
    square = torch.nn.functional.pad(image, (left, side - width - left, top, side - height - top))
    return torch.nn.functional.interpolate(square[None, None], size=(size, size), mode="area")[0, 0]


def padding(shape: tuple[int, int]) -> tuple[int, int]:
    """Rows above and columns left of an image that is padded to a square."""
    side = max(shape)
    return (side - shape[0]) // 2, (side - shape[1]) // 2


def _count(path: Path) -> int:
    if path.suffix.lower() != ".npy":
        return 1
    array = _mapped(path)
    return len(array) if _is_stack(array) else 1


def _is_stack(array: npt.NDArray[Any]) -> bool:
    return array.ndim == 4 or (array.ndim == 3 and array.shape[-1] not in (1, 3, 4))


def _mapped(path: Path) -> npt.NDArray[Any]:
    try:
        array: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as problem:
        raise InputError(f"cannot be read as NPY: {problem}", where=str(path)) from None
    return array


def _decoded(path: Path) -> npt.NDArray[Any]:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as picture:
            if picture.mode in ("P", "CMYK", "YCbCr", "HSV", "LAB"):
                return np.asarray(picture.convert("RGB"))
            return np.asarray(picture)
    except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as problem:
        raise InputError(f"cannot be read as an image: {problem}", where=str(path)) from None

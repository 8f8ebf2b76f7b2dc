"""Magnitude images as 8-bit pictures, alone or many on one sheet. For a look, not for diagnosis."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ambient_mri import files

WHITE_QUANTILE = 0.995
GAP, BACKGROUND = 4, 40
ENLARGED_TO = 128

Picture = npt.NDArray[np.uint8]


def white(magnitude: npt.NDArray[np.floating]) -> float:
    """The value that is shown white: the 99.5 % quantile."""
    return max(float(np.quantile(magnitude, WHITE_QUANTILE)), 1e-30)


def grey(magnitude: npt.NDArray[np.floating], peak: float | None = None) -> Picture:
    """Any shape: black at 0, white at `peak` and beyond; None: at `white`."""
    top = white(magnitude) if peak is None else max(peak, 1e-30)
    shown: Picture = (255 * np.clip(np.nan_to_num(magnitude) / top, 0, 1)).round().astype(np.uint8)
    return shown


def enlarged(picture: Picture) -> Picture:
    """Every pixel as a square of pixels, so that the longer side approaches 128."""
    times = max(1, ENLARGED_TO // max(picture.shape))
    return picture.repeat(times, 0).repeat(times, 1)


def sheet(pictures: Sequence[Picture], columns: int) -> Picture:
    """Pictures `(y, x)` in rows of `columns`, in cells of the largest."""
    height, width = (max(picture.shape[axis] for picture in pictures) + GAP for axis in (0, 1))
    rows = -(-len(pictures) // columns)
    canvas = np.full((height * rows + GAP, width * columns + GAP), BACKGROUND, np.uint8)
    for i, picture in enumerate(pictures):
        top, left = GAP + height * (i // columns), GAP + width * (i % columns)
        canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return canvas


def write_png(path: Path, picture: Picture) -> Path:
    """Write a grey picture; raises as `files.replacing`."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format="PNG")
    return files.write(path, buffer.getvalue())

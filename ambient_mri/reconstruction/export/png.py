"""PNG preview of a magnitude image, 8 bits. For a look, not for diagnosis."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from ambient_mri import pictures


def write_png(path: Path, image: npt.NDArray[np.float32], *, pixel_mm: tuple[float, float] = (1.0, 1.0)) -> Path:
    """Write `(y, x)`: black at 0, white at the 99.5th percentile; rows and columns as they lie in the array.

    Parameters
    ----------
    pixel_mm
        (row, column) spacing: where they differ by more than 1 %, the preview is resampled to square pixels.
    """
    from PIL import Image

    picture = Image.fromarray(pictures.grey(image))
    rows, columns = pixel_mm
    if abs(rows / columns - 1) > 0.01:
        smaller = min(rows, columns)
        size = (round(picture.width * columns / smaller), round(picture.height * rows / smaller))
        picture = picture.resize(size, Image.Resampling.BICUBIC)
    return pictures.write_png(path, np.asarray(picture))

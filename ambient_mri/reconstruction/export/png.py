"""PNG preview of a magnitude image, 8 bits. For a look, not for diagnosis."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from ambient_mri.reconstruction.export import replacing

WHITE_PERCENTILE = 99.5


def write_png(path: Path, image: npt.NDArray[np.float32], *, pixel_mm: tuple[float, float] = (1.0, 1.0)) -> Path:
    """Write `(y, x)`: black at 0, white at the 99.5th percentile; rows and columns as they lie in the array.

    Parameters
    ----------
    pixel_mm
        (row, column) spacing: where they differ by more than 1 %, the preview is resampled to square pixels.
    """
    from PIL import Image

    white = max(float(np.percentile(image, WHITE_PERCENTILE)), 1e-30)
    picture = Image.fromarray((255 * np.clip(image / white, 0, 1)).round().astype(np.uint8))
    rows, columns = pixel_mm
    if abs(rows / columns - 1) > 0.01:
        smaller = min(rows, columns)
        size = (round(picture.width * columns / smaller), round(picture.height * rows / smaller))
        picture = picture.resize(size, Image.Resampling.BICUBIC)
    with replacing(path) as temporary:
        picture.save(temporary, format="PNG")
    return path

"""Grids of images as PNG, arrays as NPY; both replaced at once."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from torch import Tensor

from ambient_mri.prior.checkpoint import replace_file

GAP, ENLARGED_TO = 2, 128


def save_grid(path: Path, images: Tensor) -> None:
    """Magnitudes of `(rows, columns, 1, y, x)` as one grey PNG; each image is white at its own 99.5 % quantile."""
    from PIL import Image

    rows, columns, _, height, width = images.shape
    times = max(1, ENLARGED_TO // max(height, width))
    tall, wide = height * times + GAP, width * times + GAP
    canvas = np.full((rows * tall - GAP, columns * wide - GAP), 255, np.uint8)
    for i in range(rows):
        for j in range(columns):
            magnitude = images[i, j, 0].abs().float().cpu().numpy()
            white = max(float(np.quantile(magnitude, 0.995)), 1e-9)
            grey = (255 * (magnitude / white).clip(0, 1)).astype(np.uint8).repeat(times, 0).repeat(times, 1)
            canvas[i * tall : i * tall + grey.shape[0], j * wide : j * wide + grey.shape[1]] = grey
    buffer = io.BytesIO()
    Image.fromarray(canvas).save(buffer, format="PNG")
    replace_file(path, buffer.getvalue())


def save_array(path: Path, values: Tensor) -> None:
    """A tensor as NPY, without pickle."""
    buffer = io.BytesIO()
    np.save(buffer, values.cpu().numpy(), allow_pickle=False)
    replace_file(path, buffer.getvalue())

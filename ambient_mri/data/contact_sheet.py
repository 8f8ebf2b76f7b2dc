"""Contact sheets: what was measured of some scans, as one PNG. Nothing else can be seen on it, truth least of all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

from ambient_mri.errors import InputError
from ambient_mri.measurement import Measurement
from ambient_mri.pictures import BACKGROUND, GAP, Picture, sheet, write_png

TILE = 128  # pixels along the longer side of a view
CAPTION = 14
SCANS_PER_ROW = 4


class Measurements(Protocol):
    """What a sheet is made of, e.g. `open_scans(...)`."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[Measurement]: ...


def contact_sheet(scans: Measurements, out: Path, count: int = 16) -> Path:
    """Write a PNG of the first `count` scans and return its path.

    Each scan shows its zero-filled image |Aᴴy|, its mask (white: measured) and, in k-space, the
    logarithm of the measured samples' root sum of squares over coils. Brightness is each view's own.

    Raises
    ------
    InputError
        If there is no scan, or the file cannot be written.
    """
    chosen = [scan[i : i + 1] for scan in islice(iter(scans), count) for i in range(len(scan))][:count]
    if not chosen:
        raise InputError("there is no scan to show", where=str(out))
    tiles = [_tile(scan) for scan in chosen]
    return write_png(out, sheet(tiles, min(SCANS_PER_ROW, len(tiles))))


def views(scan: Measurement) -> dict[str, Tensor]:
    """Views of one scan (batch size 1), each `(y, x)` in [0, 1]; computed from measured samples alone."""
    shown = {
        "zero-filled": _stretched(scan.adjoint()[0, 0].abs()),
        "mask": scan.mask[0, 0].expand(scan.image_shape).float(),
    }
    if scan.domain == "kspace":
        energy = scan.without_unmeasured().y[0].abs().square().sum(0).sqrt()
        shown["k-space"] = _stretched(torch.log1p(energy / energy.max().clamp_min(1e-30) * 1e3))
    return shown


def _stretched(values: Tensor) -> Tensor:
    """0 to the 99.5th percentile of what is not zero."""
    positive = values[values > 0]
    top = float(np.quantile(positive.numpy(), 0.995)) if len(positive) else 1.0
    return (values / top).clamp(0, 1)


def _tile(scan: Measurement) -> Picture:
    rows, columns = scan.image_shape
    size = (max(1, round(TILE * columns / max(rows, columns))), max(1, round(TILE * rows / max(rows, columns))))
    pictures = _resized(views(scan).values(), size)
    tile = Image.fromarray(np.concatenate([np.zeros((CAPTION, pictures.shape[1]), np.uint8), pictures]))
    measured = 100 * float(scan.mask.float().mean())
    caption = f"{scan.scan_ids[0]}  {measured:.0f} % measured".encode("latin-1", "replace").decode("latin-1")
    ImageDraw.Draw(tile).text((1, 1), caption, fill=255)
    return np.asarray(tile)


def _resized(pictures: Iterable[Tensor], size: tuple[int, int]) -> Picture:
    images = [Image.fromarray((255 * picture).byte().numpy()) for picture in pictures]
    shown = [np.asarray(image.resize(size, Image.Resampling.NEAREST)) for image in images]
    return np.concatenate([np.pad(view, ((0, 0), (0, GAP // 2)), constant_values=BACKGROUND) for view in shown], axis=1)

"""Stacks of slices as pictures for a page: which slices, which way up, which grey, one PNG for a stack.

Radiological convention: the patient's right is on the left of axial and coronal views, anterior above; sagittal views
look from the left, anterior on the left. Where the geometry is not known, rows and columns stay as they lie in the
file, and no edge has a name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ambient_mri import pictures
from ambient_mri.data.readers.kspace import Affine

MOST_SLICES, LONGEST_SIDE = 20, 224
LETTERS = ("RL", "AP", "FH")
"""Towards the lower and the higher coordinate along the axes of LPS."""
Stack = npt.NDArray[np.float32]


@dataclass(frozen=True)
class View:
    """How slices are turned to be looked at.

    Parameters
    ----------
    transposed, flipped
        What is done to `(y, x)`, in this order; `flipped` along (rows, columns).
    edges
        Letters of the (left, right, upper, lower) edge; "" where the geometry is not known.
    """

    transposed: bool = False
    flipped: tuple[bool, bool] = (False, False)
    edges: str = ""

    @classmethod
    def of(cls, affine: Affine | None) -> View:
        """The radiological view along the slice axis."""
        if affine is None:
            return cls()
        column, row = (affine[:3, axis] / np.linalg.norm(affine[:3, axis]) for axis in (0, 1))
        normal = int(np.abs(np.cross(column, row)).argmax())
        across, down = ((1, 2), (0, 2), (0, 1))[normal]  # LPS axes of the view; z points up, all others as they grow
        upward = down == 2
        transposed = bool(abs(column[down]) > abs(row[down]))
        along_x, along_y = (row, column) if transposed else (column, row)
        flipped = (bool((along_y[down] < 0) != upward), bool(along_x[across] < 0))
        vertical = LETTERS[down][::-1] if upward else LETTERS[down]
        return cls(transposed, flipped, LETTERS[across] + vertical)

    def __call__(self, stack: Stack) -> Stack:
        """`(slices, y, x)` turned."""
        turned = stack.transpose(0, 2, 1) if self.transposed else stack
        axes = tuple(axis for axis, flip in zip((1, 2), self.flipped, strict=True) if flip)
        return np.flip(turned, axes)

    def pixel_mm(self, rows: float, columns: float) -> tuple[float, float]:
        """(row, column) spacing once turned."""
        return (columns, rows) if self.transposed else (rows, columns)


def shown_slices(count: int) -> list[int]:
    """At most 20 slices of a volume, evenly spaced, in their order."""
    number = min(count, MOST_SLICES)
    return [round((place + 0.5) * count / number - 0.5) for place in range(number)]


def write_stacks(
    folder: Path, stacks: Mapping[str, tuple[Path, Stack]], *, affine: Affine | None,
    voxel_mm: tuple[float, float, float] | None, count: int,
) -> dict[str, Any]:  # fmt: skip
    """Write each stack as one PNG, slices one below the other, and say how to show them.

    All stacks are `(slices shown, y, x)`. "input" and "image" share one window, from 0 to the 99.5 % quantile of the
    image; "deviation" has a scale of its own, which is said as a share of that white.

    Parameters
    ----------
    folder
        What the paths of the stacks are relative to.
    count
        Slices of the volume.
    """
    view, pixel = View.of(affine), (1.0, 1.0) if voxel_mm is None else (voxel_mm[1], voxel_mm[0])
    white = pictures.white(stacks["image"][1])
    facts: dict[str, Any] = {"edges": view.edges, "slices": shown_slices(count), "count": count, "files": {}}
    for name, (path, stack) in stacks.items():
        top = white
        if name == "deviation":
            top = pictures.white(stack)
            facts["deviation_white"] = float(f"{top / white:.2g}")
        planes = [_resized(plane, view.pixel_mm(*pixel)) for plane in view(stack)]
        grey = pictures.grey(np.stack(planes), top)
        facts["size"] = [int(grey.shape[2]), int(grey.shape[1])]
        pictures.write_png(folder / path, grey.reshape(-1, grey.shape[2]))
        facts["files"][name] = path.as_posix()
    return facts


def _resized(plane: Stack, pixel_mm: tuple[float, float]) -> Stack:
    """Square pixels, and no side longer than `LONGEST_SIDE`; small images stay as they are."""
    from PIL import Image

    smaller = min(pixel_mm)
    height, width = plane.shape[0] * pixel_mm[0] / smaller, plane.shape[1] * pixel_mm[1] / smaller
    factor = min(1.0, LONGEST_SIDE / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    if size == (plane.shape[1], plane.shape[0]):
        return plane
    picture = Image.fromarray(np.ascontiguousarray(plane)).resize(
        size, Image.Resampling.BOX if factor < 1 else Image.Resampling.BICUBIC
    )
    return np.asarray(picture)

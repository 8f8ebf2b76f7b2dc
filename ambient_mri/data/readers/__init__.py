"""Readers: one file a format, one slice at a time. All list what they find as `SliceRecord`s."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class SliceRecord:
    """One slice of a data set.

    Parameters
    ----------
    volume_id
        The scan that it belongs to: the stem of its file. Slices of a scan share mask, coils and scale.
    index
        Position in the file.
    patient
        What data sets are split by.
    path
        The file, or None for subjects that are made on the fly.
    component
        Of a data set that mixes scans of several kinds: which kind.
    """

    volume_id: str
    index: int
    patient: str
    path: Path | None = None
    component: int = 0

    @property
    def scan_id(self) -> str:
        """`<scan>/<slice>`."""
        return f"{self.volume_id}/{self.index}"


def chosen_slices(slices: str | tuple[float, float], count: int) -> Iterable[int]:
    """Indices of "middle", "all", or those between two fractions of a volume of `count` slices."""
    if slices == "middle":
        return [count // 2]
    if isinstance(slices, str):
        return range(count)
    first = min(round(slices[0] * count), count - 1)
    return range(first, max(round(slices[1] * count), first + 1))

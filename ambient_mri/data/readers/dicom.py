"""DICOM MR images as volumes: sorted by their place in the patient, never by file name or number.

Magnitude images carry no phase and no coils: they are input for restoring missing pixels, and never "acquired k-space".
"""

from __future__ import annotations

import gzip
import hashlib
import logging
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ambient_mri.data.readers.dicom_frames import Frame, frames, unquoted
from ambient_mri.data.readers.kspace import Affine
from ambient_mri.errors import InputError

LOG = logging.getLogger(__name__)

IDENTITY = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
GZIP = b"\x1f\x8b"
SAME_PLACE_MM = 1e-2
UNEVEN = 0.05  # of the slice distance: rounding of positions stays below, a missing slice does not


@dataclass(frozen=True)
class DicomVolume:
    """Slices of one series, contrast and time, in the order of their positions.

    Parameters
    ----------
    name
        Made of hashes of UIDs: names no patient.
    frames
        One a slice.
    """

    name: str
    frames: tuple[Frame, ...] = field(repr=False)

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(slices, rows, columns)."""
        return len(self.frames), *self.frames[0].shape

    @property
    def component(self) -> str:
        """ "MAGNITUDE", "PHASE", …"""
        return self.frames[0].component

    @property
    def paths(self) -> list[Path]:
        """The files, each once."""
        return list(dict.fromkeys(frame.path for frame in self.frames))

    @cached_property
    def affine(self) -> Affine | None:
        """4×4, voxel (column, row, slice) → LPS mm; None if slices are not evenly spaced or their place is unknown."""
        planes = [frame.plane for frame in self.frames]
        first, last = planes[0], planes[-1]
        if first is None or last is None:
            return None
        affine = np.eye(4)
        affine[:3, 0] = first.along_row * first.spacing[1]
        affine[:3, 1] = first.along_column * first.spacing[0]
        affine[:3, 3] = first.position
        if len(planes) == 1:
            affine[:3, 2] = first.normal * (self._header_spacing or 1.0)
            return affine
        affine[:3, 2] = (last.position - first.position) / (len(planes) - 1)
        expected = first.position + np.arange(len(planes))[:, None] * affine[:3, 2]
        there = np.array([plane.position for plane in planes if plane is not None])
        far = float(np.abs(there - expected).max())
        return affine if far <= UNEVEN * float(np.linalg.norm(affine[:3, 2])) else None

    @cached_property
    def _header_spacing(self) -> float | None:
        header = self.header(0)
        shared = (header.get("SharedFunctionalGroupsSequence") or [{}])[0].get("PixelMeasuresSequence") or [{}]
        for source, name in (
            (header, "SpacingBetweenSlices"),
            (header, "SliceThickness"),
            (shared[0], "SliceThickness"),
        ):
            if source.get(name):
                return float(source.get(name))
        return None

    def header(self, index: int) -> Any:
        """The data set of the file that slice `index` lies in, without pixels."""
        return read_header(self.frames[index].path)

    def stored(self, index: int) -> npt.NDArray[Any]:
        """Pixels of one slice as stored, `(rows, columns)`.

        Raises
        ------
        InputError
            If they are damaged, or are compressed in a way that no installed decoder knows.
        """
        frame = self.frames[index]
        pixels = _decoded(frame.path, frame.number)
        top, left = frame.tile
        image = pixels[top : top + frame.shape[0], left : left + frame.shape[1]]
        if image.shape != frame.shape:
            raise InputError(f"an image of {image.shape}, but the header says {frame.shape}", where=str(frame.path))
        return image

    def read(self, index: int) -> npt.NDArray[np.float32]:
        """Values of one slice, rescaled, `(rows, columns)` float32."""
        slope, intercept = self.frames[index].rescale
        values: npt.NDArray[np.float32] = (self.stored(index) * slope + intercept).astype(np.float32)
        return values


def is_dicom(path: Path) -> bool:
    """By content: the prefix of Part 10, also inside gzip; or a bare data set that starts with group 8."""
    try:
        with path.open("rb") as file:
            start = file.read(132)
        if start.startswith(GZIP):
            with gzip.open(path) as file:
                start = file.read(132)
    except (OSError, EOFError, zlib.error):
        return False
    return start[128:] == b"DICM" or (start[:2] == b"\x08\x00" and start[4:6] in (b"UL", b"CS", b"UI", b"DA"))


def read_header(path: Path) -> Any:
    """The data set of a file without its pixels.

    Raises
    ------
    InputError
        If it cannot be parsed. What pydicom says stays unsaid: it may quote values.
    """
    return _parsed(path, pixels=False)


def find_files(folder: Path) -> list[Path]:
    """Every DICOM file in a folder and below, in the order of names."""
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and is_dicom(path)]


def open_volumes(paths: Iterable[Path]) -> tuple[list[DicomVolume], list[InputError]]:
    """Group files into volumes; what cannot be used is returned beside them, and spoils nothing else.

    A series with several contrasts, components or times gives as many volumes. Of files with the same SOP Instance UID
    the first counts.
    """
    series: dict[tuple[str, str], list[Frame]] = {}
    problems: list[InputError] = []
    seen: dict[str, Path] = {}
    for path in paths:
        try:
            with unquoted():
                header = read_header(path)
                found = frames(header, path)
                instance, *uids = (str(header.get(name)) for name in IDENTITY)
        except InputError as problem:
            problems.append(problem)
            continue
        twin = seen.setdefault(instance, path)
        if twin != path:
            LOG.info("%s is a copy of %s: left out", path, twin)
            continue
        series.setdefault((_hash(uids[0]), _hash(uids[1])), []).extend(found)
    volumes: list[DicomVolume] = []
    for (study, number), members in series.items():
        try:
            volumes += _volumes(f"{study}-{number}", members)
        except InputError as problem:
            problems.append(problem)
    return volumes, problems


def _volumes(name: str, found: Sequence[Frame]) -> list[DicomVolume]:
    groups: dict[Any, list[Frame]] = {}
    for frame in found:
        plane = frame.plane
        placed = None if plane is None else (
            tuple(np.round([*plane.along_row, *plane.along_column], 3) + 0.0), tuple(np.round(plane.spacing, 4))
        )  # fmt: skip
        groups.setdefault((frame.shape, placed, frame.component, frame.echo_ms), []).append(frame)
    stacks = [stack for group in groups.values() for stack in _stacks(group)]
    if len(stacks) == 1:
        return [DicomVolume(name, stacks[0])]
    return [DicomVolume(f"{name}-{number:04d}", stack) for number, stack in enumerate(stacks, 1)]


def _stacks(group: Sequence[Frame]) -> Iterator[tuple[Frame, ...]]:
    """Stacks of one image a position: where positions repeat, the first of each, then the second, …"""
    ordered = sorted(group, key=lambda frame: frame.sort)
    if group[0].plane is None:
        yield tuple(ordered)
        return
    normal = group[0].plane.normal
    heights = [float(normal @ frame.plane.position) for frame in ordered if frame.plane is not None]
    places: list[tuple[float, list[Frame]]] = []
    for height, frame in sorted(zip(heights, ordered, strict=True), key=lambda pair: pair[0]):
        if places and height - places[-1][0] < SAME_PLACE_MM:
            places[-1][1].append(frame)
        else:
            places.append((height, [frame]))
    counts = {len(at) for _, at in places}
    if len(counts) > 1:
        raise InputError(
            f"positions were imaged {min(counts)} to {max(counts)} times: images are missing",
            where=str(group[0].path.parent), remedy="Export the whole series again",
        )  # fmt: skip
    for repeat in range(counts.pop()):
        yield tuple(sorted(at, key=lambda frame: frame.sort)[repeat] for _, at in places)


@contextmanager
def _binary(path: Path) -> Iterator[Any]:
    with path.open("rb") as file:
        zipped = file.read(2) == GZIP
        file.seek(0)
        if not zipped:
            yield file
            return
        with gzip.GzipFile(fileobj=file) as inner:
            yield inner


def _parsed(path: Path, *, pixels: bool) -> Any:
    pydicom = _pydicom()
    try:
        with _binary(path) as file:
            header = pydicom.dcmread(file, stop_before_pixels=not pixels, force=True)
    except Exception as problem:  # pydicom raises what the bytes provoke
        if isinstance(problem, OSError) and problem.errno:
            raise InputError("cannot be read", where=str(path)) from None
        raise InputError("the DICOM file is damaged: its header cannot be parsed", where=str(path),
                         remedy="Copy or export it again") from None  # fmt: skip
    if "SOPClassUID" not in header:
        raise InputError("not a DICOM image, or damaged", where=str(path))
    return header


@lru_cache(maxsize=1)  # the frames of a multi-frame file are asked for one after the other
def _with_pixels(path: Path, modified: int, size: int) -> Any:
    return _parsed(path, pixels=True)


def _decoded(path: Path, number: int) -> npt.NDArray[Any]:
    """One frame of a file, decompressed."""
    pixel_array = _pydicom("pydicom.pixels").pixel_array
    try:
        status = path.stat()
        with unquoted():
            image: npt.NDArray[Any] = pixel_array(_with_pixels(path, status.st_mtime_ns, status.st_size), index=number)
    except InputError:
        raise
    except (RuntimeError, NotImplementedError) as problem:
        if "plugin" in str(problem) or "decompress" in str(problem):
            raise InputError("no decoder for this compression", where=str(path),
                             remedy="Install ambient-mri[dicom]") from None  # fmt: skip
        raise InputError("the pixels are damaged", where=str(path), remedy="Copy or export it again") from None
    except Exception:
        raise InputError("the pixels are damaged or incomplete", where=str(path),
                         remedy="Copy or export it again") from None  # fmt: skip
    if image.ndim != 2:
        raise InputError(f"{image.ndim} axes in an image, colours perhaps", where=str(path))
    return image


def _pydicom(name: str = "pydicom") -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise InputError("reading DICOM needs pydicom", remedy="Install ambient-mri[dicom]") from None


def _hash(value: str) -> str:
    return hashlib.sha256(value.encode()).hexdigest()[:8]

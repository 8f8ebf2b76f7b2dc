"""DICOM MR images as volumes: sorted by their place in the patient, never by file name or number.

Magnitude images carry no phase and no coils: they are input for restoring missing pixels, and never "acquired k-space".
"""

from __future__ import annotations

import filecmp
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ambient_mri.data.readers.dicom_files import decoded, read_header, series_name
from ambient_mri.data.readers.dicom_frames import BesideImages, Frame, frames, unquoted
from ambient_mri.data.readers.kspace import Affine
from ambient_mri.errors import InputError

LOG = logging.getLogger(__name__)

IDENTITY = ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
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

    @property
    def voxel_mm(self) -> tuple[float, float, float] | None:
        """(column, row, slice) sizes, known also where slices are not evenly spaced or their place is not stated.

        Then the third is what the header says, 1 if it says nothing; None if it states no Pixel Spacing.
        """
        affine, plane = self.affine, self.frames[0].plane
        if affine is not None:
            column, row, between = (float(size) for size in np.linalg.norm(affine[:3, :3], axis=0))
            return column, row, between
        stated = self._measure("PixelSpacing") if plane is None else plane.spacing
        return None if stated is None else (float(stated[1]), float(stated[0]), self._header_spacing or 1.0)

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of the images should know."""
        found = []
        if self.affine is None and all(frame.plane is not None for frame in self.frames):
            found.append("slices are not evenly spaced: images may be missing")
        if self.header(0).get("PhotometricInterpretation") == "MONOCHROME1":
            found.append("0 is white (MONOCHROME1): pictures show black and white exchanged")
        return tuple(found)

    @cached_property
    def _header_spacing(self) -> float | None:
        for name in ("SpacingBetweenSlices", "SliceThickness"):
            stated = self._measure(name)
            if stated:
                return float(stated)
        return None

    def _measure(self, name: str) -> Any:
        """Of the header, or of what all its frames share."""
        header = self.header(0)
        shared = (header.get("SharedFunctionalGroupsSequence") or [{}])[0].get("PixelMeasuresSequence") or [{}]
        return header.get(name) or shared[0].get(name)

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
        pixels = decoded(frame.path, frame.number)
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


def open_volumes(paths: Iterable[Path]) -> tuple[list[DicomVolume], list[InputError]]:
    """Group files into volumes; what cannot be used is returned beside them, and spoils nothing else.

    A series with several contrasts, components or times gives as many volumes. Copies of a file are left out; files
    that lack a UID, or share that of an image with other content, and series of two patients are not used. What lies
    beside images, such as DICOMDIR, is passed over if there are any.
    """
    series: dict[str, list[_Opened]] = {}
    problems: list[InputError] = []
    passed: list[InputError] = []
    seen: dict[str, _Opened] = {}
    for path in paths:
        try:
            one = _opened(path)
            twin = seen.setdefault(one.instance, one)
            if twin is one:
                series.setdefault(series_name(one.study, one.series), []).append(one)
            elif _copies(one, twin):
                LOG.info("%s is a copy of %s: left out", path, twin.path)
            else:  # the other is not named: its folder may be called after another patient
                raise InputError("its SOPInstanceUID is that of another file with other content", where=str(path),
                                 remedy="Export both again, or give only one")  # fmt: skip
        except BesideImages as problem:
            passed.append(problem)
        except InputError as problem:
            problems.append(problem)
    volumes: list[DicomVolume] = []
    for name, members in series.items():
        try:
            _refuse_two_patients(members)
            volumes += _volumes(name, [frame for one in members for frame in one.frames])
        except InputError as problem:
            problems.append(problem)
    if not volumes and not problems:
        return [], passed
    for other in passed:
        LOG.info("%s: passed over", other)
    return volumes, problems


@dataclass(frozen=True)
class _Opened:
    path: Path
    instance: str = field(repr=False)
    study: str = field(repr=False)
    series: str = field(repr=False)
    patient: str = field(repr=False)
    frames: tuple[Frame, ...] = field(repr=False)


def _opened(path: Path) -> _Opened:
    with unquoted():
        header = read_header(path)
        found = tuple(frames(header, path))
        uids = [str(header.get(name) or "").strip() for name in IDENTITY]
        patient = str(header.get("PatientID") or header.get("PatientName") or "").strip()
    lacking = [name for name, uid in zip(IDENTITY, uids, strict=True) if not uid]
    if lacking:  # what it belongs to would be a guess, and images of two patients might meet in one volume
        raise InputError(f"the file has no {', no '.join(lacking)}", where=str(path), remedy="Export it again")
    instance, study, series = uids
    return _Opened(path, instance, study, series, patient, found)


def _copies(one: _Opened, other: _Opened) -> bool:
    """Whether two files hold the same, by their bytes; or, compressed differently, of the same series by their pixels.

    Raises
    ------
    InputError
        If the pixels have to be compared and cannot be read.
    """
    if filecmp.cmp(one.path, other.path, shallow=False):
        return True
    if (one.study, one.series, one.patient) != (other.study, other.series, other.patient):
        return False
    if [_place(frame) for frame in one.frames] != [_place(frame) for frame in other.frames]:
        return False
    return all(
        np.array_equal(decoded(a.path, a.number), decoded(b.path, b.number))
        for a, b in zip(one.frames, other.frames, strict=True)
    )


def _refuse_two_patients(members: Sequence[_Opened]) -> None:
    for one in members:
        if one.patient != members[0].patient:
            raise InputError("images of two patients (PatientID) in one series", where=str(one.path),
                             remedy="Export the series again, or correct the one that is wrong")  # fmt: skip


def _kind(frame: Frame) -> tuple[Any, ...]:
    """What the images of one volume share."""
    plane = frame.plane
    placed = None if plane is None else (
        tuple(np.round([*plane.along_row, *plane.along_column], 3) + 0.0), tuple(np.round(plane.spacing, 4))
    )  # fmt: skip
    return frame.shape, placed, frame.component, frame.echo_ms


def _place(frame: Frame) -> tuple[Any, ...]:
    position = None if frame.plane is None else tuple(np.round(frame.plane.position, 3) + 0.0)
    return frame.number, frame.tile, frame.rescale, position, *_kind(frame)


def _volumes(name: str, found: Sequence[Frame]) -> list[DicomVolume]:
    groups: dict[Any, list[Frame]] = {}
    for frame in found:
        groups.setdefault(_kind(frame), []).append(frame)
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

"""DICOM files: found by content, named without naming a patient, parsed and decoded.

What is said of a damaged one never quotes a value.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy.typing as npt

from ambient_mri.data.readers.dicom_frames import BesideImages, unquoted
from ambient_mri.errors import InputError

GZIP = b"\x1f\x8b"
SUFFIXES = (".dcm", ".dicom", ".ima")


def pseudonym(uid: str, length: int = 8) -> str:
    """The start of a hash. Who knows the UID can recompute it; nobody else learns anything."""
    return hashlib.sha256(uid.encode()).hexdigest()[:length]


def series_name(study: str, series: str) -> str:
    """What a series is called, given its UIDs: reconstructions of it, and its folder where an archive sent it."""
    return f"{pseudonym(study)}-{pseudonym(series)}"


def is_dicom(path: Path) -> bool:
    """By content: the prefix of Part 10, also inside gzip; or a bare data set that starts with group 8."""
    try:
        return _starts_as_dicom(_start(path))
    except (OSError, EOFError, zlib.error):
        return False


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        start = file.read(132)
    if start.startswith(GZIP):
        with gzip.open(path) as file:
            start = file.read(132)
    return start


def _starts_as_dicom(start: bytes) -> bool:
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
    """Every DICOM file in a folder and below, in the order of names; and what may be one that is damaged.

    Those are files that are empty, cut within the preamble, cannot be read, or are called DICOM and are none: reading
    them says so, where leaving them out would take a slice from a volume without a word.
    """
    return [path for path in sorted(folder.rglob("*")) if _wanted(path)]


def _wanted(path: Path) -> bool:
    if path.name.startswith("."):  # of file systems and programs; a damaged one is no loss
        return path.is_file() and is_dicom(path)
    if path.is_dir():
        return not os.access(path, os.R_OK | os.X_OK)
    if path.exists() and not path.is_file():  # a pipe, which waits for ever
        return False
    try:
        start = _start(path)
    except (OSError, EOFError, zlib.error):
        return True
    cut = len(start) < 132 and not start.strip(b"\0")
    return cut or _starts_as_dicom(start) or path.suffix.lower() in SUFFIXES


def decoded(path: Path, number: int) -> npt.NDArray[Any]:
    """One frame of a file, decompressed, `(rows, columns)`.

    Raises
    ------
    InputError
        If the pixels are damaged, or are compressed in a way that no installed decoder knows.
    """
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
    if "DirectoryRecordSequence" in header:
        raise BesideImages("a directory of DICOM files (DICOMDIR)", where=str(path))
    if "SOPClassUID" not in header:
        what = "not a DICOM image, or damaged" if path.stat().st_size else "the file is empty"
        raise InputError(what, where=str(path), remedy="Copy or export it again")
    return header


@lru_cache(maxsize=1)  # the frames of a multi-frame file are asked for one after the other
def _with_pixels(path: Path, modified: int, size: int) -> Any:
    return _parsed(path, pixels=True)


def _pydicom(name: str = "pydicom") -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        raise InputError("reading DICOM needs pydicom", remedy="Install ambient-mri[dicom]") from None

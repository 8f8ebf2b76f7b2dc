"""DICOM files: found by content, parsed and decoded. What is said of a damaged one never quotes a value."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy.typing as npt

from ambient_mri.data.readers.dicom_frames import unquoted
from ambient_mri.errors import InputError

GZIP = b"\x1f\x8b"


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
    if "SOPClassUID" not in header:
        raise InputError("not a DICOM image, or damaged", where=str(path))
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

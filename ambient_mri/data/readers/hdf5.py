"""HDF5 files that may be damaged: whatever h5py raises becomes one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py

from ambient_mri.errors import InputError


@contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """The file, open for reading.

    Raises
    ------
    InputError
        If there is no such file, it is no HDF5, or anything that the block reads of it is damaged.
    """
    if not path.is_file():
        raise InputError("there is no such file", where=str(path))
    try:
        with h5py.File(path, "r") as file:
            yield file
    except InputError:
        raise
    except Exception as problem:  # of damaged bytes h5py raises a dozen types, KeyError to UnicodeDecodeError
        raise _refused(path, problem) from problem


def _refused(path: Path, problem: Exception) -> InputError:
    said = " ".join(str(problem).split())
    if "truncated" in said:
        return InputError("the HDF5 file is truncated", where=str(path), remedy="Copy or download it again")
    if isinstance(problem, OSError) and not h5py.is_hdf5(path):
        return InputError(f"cannot be read as HDF5: {said}", where=str(path))
    what = f"the HDF5 file is damaged, or laid out in another way: {said or type(problem).__name__}"
    return InputError(what, where=str(path), remedy="Copy or download it again")

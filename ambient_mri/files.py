"""Files that appear whole under their name, or not at all: every file the package writes goes through here."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ambient_mri.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

FULL = (errno.ENOSPC, errno.EDQUOT)
REMEDIES = {
    errno.ENOSPC: "Free some space or choose another --out",
    errno.EDQUOT: "Free some space or choose another --out",
    errno.ENOENT: "Check the path",
    errno.EACCES: "Check the permissions or choose another --out",
    errno.EROFS: "Choose an --out that can be written",
}
SETTLED = 60.0
# PyTorch, safetensors and HDF5 report a full disk as an error of their own.
SIGNS_OF_FULL = ("No space left on device", "PytorchStreamWriter failed writing")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`, flushed to the disk and renamed to `path` once the block is through.

    A reader sees the old content or the new, never a part, and so does whoever comes after a crash. The temporary
    name is hidden and has a suffix of its own, so that nobody who lists scans or images takes it for one.

    Raises
    ------
    InputError
        If the file cannot be written. What was there stays.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        _flush(temporary)  # a renamed file whose content is not on the disk yet can be empty after a power cut
        os.replace(temporary, path)
    except Exception as problem:
        if not isinstance(problem, OSError) and not is_disk_full(problem):
            raise
        raise InputError(f"cannot be written: {reason(problem)}", where=str(path), remedy=remedy(problem)) from problem
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """A new folder beside `folder`, which takes its place once the block is through.

    What a run that was killed left under the temporary name is cleared away.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        if folder.exists():
            shutil.rmtree(folder)
        temporary.rename(folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def clear_unfinished(folder: Path) -> None:
    """Remove temporary files that killed processes left in `folder` and below.

    One that was touched within the last minute stays: its writer may run on another machine.
    """
    for path in folder.rglob(".*.part"):
        number = path.suffixes[-2].removeprefix(".") if len(path.suffixes) > 1 else ""
        with suppress(OSError):
            if number.isdigit() and not _runs(int(number)) and time.time() - path.stat().st_mtime > SETTLED:
                path.unlink()


def _runs(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def text_sha256(text: str) -> bytes:
    """Hash of a text that may hold a file name, of which bytes need not be UTF-8: Python carries them as surrogates."""
    return hashlib.sha256(text.encode(errors="surrogateescape")).digest()


def write(path: Path, content: bytes | str) -> Path:
    """Write `path` whole, text as UTF-8; raises as `replacing`.

    Bytes of a file name that are not UTF-8, which Python carries as lone surrogates, are written as `\\udcfc`.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content.encode(errors="backslashreplace") if isinstance(content, str) else content)
    return path


def write_restricted(path: Path, content: bytes | str) -> Path:
    """`write`, of what only the owner may read: nobody else can at any moment."""
    with replacing(path) as temporary:
        temporary.unlink(missing_ok=True)
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content.encode(errors="backslashreplace") if isinstance(content, str) else content)
    return path


def write_array(path: Path, array: NDArray[Any]) -> Path:
    """Write an NPY whole or not at all; returns `path`."""
    import numpy as np

    with replacing(path) as temporary, temporary.open("wb") as file:
        np.save(file, array, allow_pickle=False)
    return path


def is_disk_full(problem: BaseException) -> bool:
    """Whether an error, or the one that caused it, says that the disk or the quota is used up."""
    if isinstance(problem, InputError):
        return problem.__cause__ is not None and is_disk_full(problem.__cause__)
    number = problem.errno if isinstance(problem, OSError) else None
    return number in FULL or any(sign in str(problem) for sign in SIGNS_OF_FULL)


def reason(problem: Exception) -> str:
    """What the system says, without file names."""
    number = getattr(problem, "errno", None)
    if number in REMEDIES:
        return os.strerror(number)
    if is_disk_full(problem):
        return os.strerror(errno.ENOSPC)
    return " ".join(str(getattr(problem, "strerror", None) or problem).split())


def remedy(problem: Exception) -> str:
    """What to do about an error of the system; empty where there is no general advice."""
    number = getattr(problem, "errno", None)
    if number in REMEDIES:
        return REMEDIES[number]
    return REMEDIES[errno.ENOSPC] if is_disk_full(problem) else ""


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())

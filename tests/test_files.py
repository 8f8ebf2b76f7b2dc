"""Files are whole or absent, whatever goes wrong, also on a disk that is really full."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ambient_mri import files
from ambient_mri.errors import InputError
from ambient_mri.files import is_disk_full, replacing, write


def test_what_killed_processes_left_is_cleared_and_what_runs_is_not(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    names = [f".a.h5.{gone.pid}.part", f".b.h5.{os.getpid()}.part", f".c.h5.{gone.pid}.part", ".part", "d.part"]
    (tmp_path / "deep").mkdir()
    paths = [tmp_path / "deep" / name for name in names]
    for path in paths:
        path.write_text("half")
        os.utime(path, (1, 1))
    os.utime(paths[2])  # just now: perhaps by another machine
    files.clear_unfinished(tmp_path)
    assert [path.exists() for path in paths] == [False, True, True, True, True]


def test_new_content_replaces_old(tmp_path: Path) -> None:
    path = write(tmp_path / "deep" / "page.html", "σ")
    assert path.read_text("utf-8") == "σ"
    assert write(path, b"\0\1").read_bytes() == b"\0\1"
    assert list(path.parent.iterdir()) == [path]


def test_names_that_are_not_utf8_are_written_all_the_same(tmp_path: Path) -> None:
    name = os.fsdecode(b"M\xfcller")
    assert write(tmp_path / "page.html", f"ä {name}").read_bytes() == "ä M\\udcfcller".encode()
    assert files.write_restricted(tmp_path / "kept.html", name).read_bytes() == b"M\\udcfcller"


def test_what_was_there_stays_when_writing_fails(tmp_path: Path) -> None:
    path = write(tmp_path / "kept.txt", "before")

    def fail(problem: BaseException) -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise problem

    for problem in (RuntimeError("of the program"), KeyboardInterrupt()):
        with pytest.raises(type(problem)):
            fail(problem)
    with pytest.raises(InputError, match=r"kept\.txt: cannot be written: No space left on device\. Free some space"):
        fail(RuntimeError("I/O error: No space left on device (os error 28)"))
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_the_old_content_is_there_until_the_new_one_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, seen = write(tmp_path / "a.txt", "old"), []
    synchronise = files.os.fsync
    monkeypatch.setattr(files.os, "fsync", lambda number: (seen.append(path.read_text()), synchronise(number)))
    write(path, "new")
    assert seen == ["old"]
    assert path.read_text() == "new"


def test_temporary_names_are_not_taken_for_scans_or_images(tmp_path: Path) -> None:
    for name in ("scan.h5", "image.png", "volume.nii.gz", "model.safetensors"):
        with replacing(tmp_path / name) as temporary:
            assert temporary.parent == tmp_path  # another folder could be another disk, where renaming copies
            assert temporary.name.startswith(".")
            assert temporary.suffix == ".part"
            temporary.touch()


@pytest.mark.parametrize(
    ("problem", "expected"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "x"), "Permission denied. Check the permissions"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "Disk quota exceeded. Free some space"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (OSError("Can't write data (file write failed: No space left on device)"), "No space left on device. Free"),
    ],
)
def test_refusals_of_the_system_are_input_errors(problem: OSError, expected: str, tmp_path: Path) -> None:
    def fail() -> None:
        with replacing(tmp_path / "a.h5"):
            raise problem

    with pytest.raises(InputError) as caught:
        fail()
    assert f"a.h5: cannot be written: {expected}" in str(caught.value)
    assert is_disk_full(caught.value) == ("Free" in expected)


def test_a_folder_or_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    for path in (tmp_path / "file" / "a.txt", tmp_path / "folder"):
        with pytest.raises(InputError, match="cannot be written"):
            write(path, "text")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


FULL = """
import sys
from pathlib import Path
import h5py, numpy as np, torch
from safetensors.torch import save
from ambient_mri import files
from ambient_mri.data.cohort import subject
from ambient_mri.errors import InputError
from ambient_mri.pictures import write_png
from ambient_mri.prior.checkpoint import settle
from ambient_mri.reconstruction.export.hdf5 import write_hdf5
from ambient_mri.reconstruction.export.nifti import write_nifti

folder, noise = Path(sys.argv[1]), np.random.default_rng(0).normal(size=(4, 64, 64)).astype(np.float32)
kept = files.write(folder / "kept", "before")
with open(folder / "ballast", "wb", buffering=0) as ballast:  # leaves less than a page
    try:
        while True:
            ballast.write(bytes(1024))
    except OSError:
        pass

def hdf5(path):
    with files.replacing(path) as temporary, h5py.File(temporary, "w") as file:
        file.create_dataset("kspace", data=noise)

writers = {
    "text": lambda path: files.write(path, "x" * 10000),
    "checkpoint": lambda path: files.write(path, save({"a": torch.from_numpy(noise)})),
    "run": lambda path: settle(path.parent, {"data": "x" * 10000}),
    "png": lambda path: write_png(path, (100 * np.abs(noise[0])).astype(np.uint8)),
    "nifti": lambda path: write_nifti(path, noise, affine=None),
    "simulated": hdf5,
    "reconstruction": lambda path: write_hdf5(path, noise.astype(np.complex64), {}),
}
before = sorted(folder.iterdir())
for name, writer in writers.items():
    for path in (folder / "new.nii.gz", kept):
        try:
            writer(path)
        except InputError as problem:
            assert files.is_disk_full(problem), problem
            assert "cannot be written: No space left on device. Free some space" in str(problem), problem
        else:
            raise AssertionError(name)
        assert sorted(folder.iterdir()) == before, (name, list(folder.iterdir()))
        assert kept.read_text() == "before", name
print("all refused")
"""


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    inside = f'mount -t tmpfs -o size=64k none {tmp_path} && exec {sys.executable} -c "$0" {tmp_path}'
    alone = ["unshare", "--map-root-user", "--mount"]
    try:
        subprocess.run([*alone, "mount", "-t", "tmpfs", "none", str(tmp_path)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("a file system of 64 KiB cannot be mounted here (unshare --mount is not allowed)")
    done = subprocess.run([*alone, "sh", "-c", inside, FULL], capture_output=True, text=True, check=False)
    assert done.stdout == "all refused\n", done.stderr

"""A batch that is killed at random moments and started again: nothing is redone, nothing lost, no half-written file."""

from __future__ import annotations

import json
import multiprocessing
import time
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from ambient_mri.cli import main

CASES, DAMAGED, KILLS = 200, range(7, 200, 20), 6


def _write(folder: Path) -> list[Path]:
    rng, mask = np.random.default_rng(0), np.zeros(16, np.float32)
    mask[[1, 3, 6, 7, 8, 9, 12]] = 1
    for number in range(CASES):
        kspace = (rng.standard_normal((1, 1, 16, 16)) + 1j * rng.standard_normal((1, 1, 16, 16))).astype(np.complex64)
        if number in DAMAGED:
            kspace[0, 0, 4, 8] = np.nan
        with h5py.File(folder / f"scan{number:03d}.h5", "w") as file:
            file["kspace"], file["mask"], file.attrs["noise_std"] = kspace * mask, mask, 0.01
    return sorted(folder.glob("*.h5"))


def _recorded(out: Path) -> set[str]:
    manifest = out / "manifest.json"
    return set(json.loads(manifest.read_text())["files"]) if manifest.exists() else set()


def _check_whole(out: Path) -> None:
    """Every file under its own name can be read to its end."""
    for path in out.iterdir():
        if path.name.startswith("."):
            continue  # temporary names of the killed
        if path.name.endswith(".nii.gz"):
            assert np.isfinite(nib.load(path).get_fdata()).all()
        elif path.suffix == ".h5":
            with h5py.File(path) as file:
                assert np.isfinite(np.asarray(file["reconstruction"])).all()
        elif path.suffix == ".png":
            Image.open(path).load()


@pytest.mark.slow
def test_two_hundred_cases_and_kills_at_random_moments(tmp_path: Path) -> None:
    scans, out = tmp_path / "scans", tmp_path / "out"
    scans.mkdir()
    words = ["reconstruct", "none", *map(str, _write(scans)), "--out", str(out), "--method", "zero-filled"]
    context = multiprocessing.get_context("forkserver")  # imports once, then a fresh process for each run
    context.set_forkserver_preload(["ambient_mri.reconstruction.batch", "ambient_mri.reconstruction.posterior"])
    rng, times = np.random.default_rng(1), dict[str, int]()
    for number in range(KILLS):
        process = context.Process(target=main, args=(words,))
        process.start()
        until = len(_recorded(out)) + int(rng.integers(3, 25))
        while process.is_alive() and len(_recorded(out)) < until:
            time.sleep(0.01)
        time.sleep(float(rng.uniform(0, 0.05)))  # anywhere within a case
        assert process.is_alive(), f"kill {number} came too late"
        process.kill()
        process.join()
        _check_whole(out)
        recorded = _recorded(out)
        assert set(times) <= recorded, "nothing is lost"
        for name in recorded:
            stamps = sum((out / f"{name}{suffix}").stat().st_mtime_ns for suffix in (".nii.gz", ".h5", ".png"))
            assert times.setdefault(name, stamps) == stamps, "nothing is redone"
    assert main(words) == 3
    done = {f"scan{number:03d}" for number in range(CASES)} - {f"scan{number:03d}" for number in DAMAGED}
    assert _recorded(out) == done
    assert {path.name.removesuffix(".nii.gz") for path in out.glob("scan*.nii.gz")} == done
    for name, before in times.items():
        assert before == sum((out / f"{name}{suffix}").stat().st_mtime_ns for suffix in (".nii.gz", ".h5", ".png"))

"""A job that is killed at random moments: nothing done is done again, nothing is lost, no file is half written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from ambient_mri.reconstruction.batch import reconstruct

CASES = 30


def _scans(folder: Path) -> list[Path]:
    rng = np.random.default_rng(0)
    mask = np.zeros(48, np.float32)
    mask[[1, 7, 13, *range(19, 30), 36, 42]] = 1
    for number in range(CASES):
        kspace = rng.standard_normal((6, 1, 48, 48, 2), np.float32).view(np.complex64)[..., 0]
        with h5py.File(folder / f"scan{number:02d}.h5", "w") as file:
            file["kspace"], file["mask"], file.attrs["noise_std"] = kspace * mask, mask, 0.01
    return sorted(folder.glob("*.h5"))


def _done(out: Path) -> dict[str, dict[str, object]]:
    path = out / "manifest.json"
    return json.loads(path.read_text())["files"] if path.exists() else {}  # whole at any time, or this fails


def _stamps(out: Path, entries: dict[str, dict[str, object]]) -> dict[str, list[int]]:
    return {name: [(out / str(path)).stat().st_mtime_ns for path in entry["outputs"]]  # type: ignore[attr-defined]
            for name, entry in entries.items()}  # fmt: skip


@pytest.mark.slow
def test_killed_jobs_go_on(tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    scans, out = _scans(tmp_path / "scans"), tmp_path / "out"
    command = [sys.executable, "-m", "ambient_mri", "reconstruct", "none", *map(str, scans), "--out", str(out),
               "--method", "cg-sense", "--device", "cpu"]  # fmt: skip
    rng, kept, kills = np.random.default_rng(0), dict[str, list[int]](), 0
    while len(_done(out)) < CASES and kills < 5:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wanted = min(len(_done(out)) + int(rng.integers(3, 9)), CASES)
        while process.poll() is None and len(_done(out)) < wanted:
            time.sleep(0.005)
        time.sleep(float(rng.uniform(0, 0.1)))
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.wait()
        stamps = _stamps(out, _done(out))
        assert {name: stamps[name] for name in kept} == kept, "what was done is as it was"
        kept = stamps
    assert kills >= 3
    for path in out.rglob(".*.part"):
        os.utime(path, (time.time() - 120,) * 2)
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    entries = _done(out)
    assert set(entries) == {path.stem for path in scans}
    stamps = _stamps(out, entries)
    assert {name: stamps[name] for name in kept} == kept
    for path in scans:
        assert np.isfinite(nib.load(out / f"{path.stem}.nii.gz").get_fdata()).all()
        with h5py.File(out / path.name) as file:
            assert file["reconstruction"].shape == (6, 48, 48)
        Image.open(out / f"{path.stem}.png").load()
        for picture in entries[path.stem]["pictures"]["files"].values():  # type: ignore[index]
            Image.open(out / picture).load()
    left = [path for path in out.rglob("*") if path.name.endswith(".part")]
    assert left == [], "what a killed run left is cleared by the next"
    again = reconstruct(None, scans, out, method="cg-sense")
    assert all(result.skipped for result in again)

"""How much memory a large case takes: 150 slices of 320 x 320 and 8 coils, written and read slice by slice.

    python benchmarks/memory.py
    python benchmarks/memory.py --bundle runs/demo/bundle --method a-fill --samples 4 --max-memory 3

Each job runs in a process of its own; its peak is the resident set that the kernel counted (ru_maxrss).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np

from ambient_mri.reconstruction.memory import GIB

PROGRAM = """
import json, sys
from ambient_mri.reconstruction import methods
from ambient_mri.reconstruction.batch import reconstruct
from ambient_mri.reconstruction.memory import peak
from ambient_mri.reconstruction.posterior import Sampling
given = json.loads(sys.argv[1])
loads, load = [], methods.load
methods.load = lambda *arguments: loads.append(1) or load(*arguments)
sampling = Sampling(given["samples"], 3) if given["method"] in methods.POSTERIOR else None
reconstruct(given["bundle"], given["files"], given["out"], method=given["method"], sampling=sampling, strength=0.01,
            formats=["nifti", "hdf5"], max_memory=given["max_memory"])
print(json.dumps({"peak": peak(), "loads": len(loads)}))
"""


def write_volume(path: Path, slices: int, size: int, coils: int) -> Path:
    """A fastMRI file of structured samples, one slice at a time; one line in four measured, and the centre."""
    rng = np.random.default_rng(0)
    mask = (rng.random(size) < 0.2).astype(np.float32)
    mask[size // 2 - 12 : size // 2 + 12] = 1
    decay = 1 / (1 + np.hypot(*np.mgrid[-size // 2 : size - size // 2, -size // 2 : size - size // 2]) ** 1.5)
    with h5py.File(path, "w") as file:
        kspace = file.create_dataset("kspace", (slices, coils, size, size), np.complex64)
        for index in range(slices):
            plane = rng.standard_normal((coils, size, size, 2), np.float32).view(np.complex64)[..., 0]
            kspace[index] = (plane * (decay + 0.001) * mask).astype(np.complex64)
        file["mask"] = mask
        file.attrs["noise_std"] = 0.001
    return path


def measured(job: dict[str, object]) -> tuple[int, int, float]:
    """(peak bytes, times the model was loaded, seconds) of a job in a process of its own."""
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", PROGRAM, json.dumps(job)], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    told = json.loads(done.stdout.splitlines()[-1])
    return told["peak"], told["loads"], time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--slices", type=int, default=150)
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--coils", type=int, default=8)
    parser.add_argument("--bundle", help="a trained model, for --method one-step and those that draw samples")
    parser.add_argument("--method", default="cg-sense")
    parser.add_argument("--samples", type=int, default=4)
    parser.add_argument("--max-memory", type=float, help="GiB")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = write_volume(Path(folder) / "scan.h5", given.slices, given.size, given.coils)
        small = write_volume(Path(folder) / "small.h5", 1, given.size, given.coils)
        limit = None if given.max_memory is None else int(given.max_memory * GIB)
        job: dict[str, object] = {
            "bundle": given.bundle, "files": [str(small), str(path)], "out": str(Path(folder) / "out"),
            "method": given.method, "samples": given.samples, "max_memory": limit,
        }  # fmt: skip
        top, loads, seconds = measured(job)
        on_disk = path.stat().st_size
    bound = "none" if limit is None else f"{limit / GIB:.1f}"
    print("| volume | k-space (GiB) | method | --max-memory (GiB) | peak (GiB) | models loaded | seconds |")
    print("|---|---|---|---|---|---|---|")
    size = f"{given.slices} x {given.coils} x {given.size} x {given.size}"
    print(f"| {size} | {on_disk / GIB:.2f} | {given.method} | {bound} | {top / GIB:.2f} | {loads} | {seconds:.0f} |")


if __name__ == "__main__":
    main()

"""Rows about files and search: fastMRI slices, a DICOM series, exact neighbours, the start of the program."""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from peers import Result, compare, relative, same

HERE = Path(__file__).parent


def readers(given: argparse.Namespace) -> Iterator[Result]:
    """fastMRI slices whole and at R = 4, beside h5py kept open; a DICOM series beside pydicom's plain loop."""
    slices, coils, y, x, images = (4, 2, 64, 32, 6) if given.small else (8, 16, 640, 320, 300)
    rng = torch.Generator().manual_seed(0)
    kspace = torch.randn(slices, coils, y, x, dtype=torch.complex64, generator=rng)
    every = torch.arange(x) % 4 == 0
    every[x // 2 - x // 25 : x // 2 + x // 25] = True
    for name, mask in (("fully sampled", torch.ones(1, x, dtype=torch.bool)), ("lines of R = 4", every[None])):
        work = f"{slices} fastMRI slices of {coils} × {y} × {x}, {name}"
        yield compare(work, "slices", {"kspace": kspace, "mask": mask}, ["h5py"], relative(1e-7), given.repeats)
    image = torch.randint(0, 4000, (images, 256, 256), generator=rng).float()
    work = f"a DICOM series of {images} slices of 256²"
    yield compare(work, "series", {"image": image}, ["pydicom"], relative(1e-6), given.repeats)


def search(given: argparse.Namespace) -> Iterator[Result]:
    """The 51 nearest, exactly."""
    queries, base = (100, 1000) if given.small else (10_000, 100_000)
    sizes = {"queries": torch.tensor(queries), "base": torch.tensor(base), "k": torch.tensor(51)}
    work = f"the 51 nearest of {queries} samples among {base} slices, 128 features"
    yield compare(work, "search", sizes, ["faiss", "scikit-learn"], same(0.999), min(given.repeats, 2))


def start(given: argparse.Namespace) -> Iterator[Result]:
    """Starting the program, and importing the package, beside a bare Python."""
    programs = {
        "ambient-mri --help": ["-m", "ambient_mri", "--help"], "import ambient_mri": ["-c", "import ambient_mri"],
    }  # fmt: skip
    for name, arguments in programs.items():
        ours, bare = _started(arguments, given.repeats), _started(["-c", "pass"], given.repeats)
        yield Result(f"start: {name}", ours, {"bare Python": bare}, {"bare Python": f"{ours:.3f} s of processor time"})


def _started(arguments: list[str], repeats: int) -> float:
    def seconds() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    times = []
    for _ in range(repeats + 1):
        before = seconds()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, cwd=HERE.parent)
        times.append(seconds() - before)
    return statistics.median(times[1:])

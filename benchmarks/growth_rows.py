"""Rows about growth: how the cost follows slices, coils, matrix, training scans and workers."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import torch
from classical_rows import RIDGE, synthetic
from memory import measured, write_volume
from peers import Result

from ambient_mri.operators import Masked, Sense

TRAINING = """
import json, sys, time
from pathlib import Path
from ambient_mri.data.dataset import open_scans
from ambient_mri.data.spec import load_spec
from ambient_mri.prior.feed import Prepared
from ambient_mri.prior.steps import Batches
from ambient_mri.reconstruction.memory import peak
began = time.process_time()
scans = open_scans(load_spec(sys.argv[1]), "train")
prepared, batches = Prepared(scans, scans.further(), 0, "ambient"), iter(Batches(len(scans), 8, 0))
prepared.__getitems__(next(batches))
opened = time.process_time() - began
began = time.process_time()
for _ in range(20):
    prepared.__getitems__(next(batches))
print(json.dumps({"open": opened, "batch": (time.process_time() - began) / 20, "peak": peak()}))
"""
SPEC = """
title: growth
licence: none
source: {{kind: fastmri, root: {root}, folders: [scans], slices: all}}
acquisition: {{sensitivity_maps: espirit, pattern: {{kind: from_files}}, further: {{keep: [0.25, 0.95]}}}}
split: {{validation: 1, test: 1, seed: 0}}
"""


def growth(given: argparse.Namespace) -> Iterator[Result]:
    """Exponents where the cost grows, figures a slice where it must not."""
    yield from _solver(given)
    yield _volumes(given)
    yield _training_sets(given)
    if not given.small:
        yield _workers()


def _solver(given: argparse.Namespace) -> Iterator[Result]:
    """CG-SENSE over slices, coils and matrix size."""
    from ambient_mri.solvers import conjugate_gradients

    curves: dict[str, list[tuple[int, tuple[int, int, int]]]] = {
        "slices": [(n, (n, 64, 4)) for n in (1, 4, 16, 64)][: given.points],
        "coils": [(n, (1, 128, n)) for n in (1, 2, 4, 8, 16, 32)][: given.points],
        "matrix": [(n, (1, n, 8)) for n in (64, 128, 256, 512)][: given.points],
    }
    for what, points in curves.items():
        costs = []
        for _, (count, size, coils) in points:
            inputs = synthetic(count, size, coils)
            A, b, lam = Masked(Sense(inputs["maps"]), inputs["mask"]), inputs["x"], torch.tensor(RIDGE)
            times = []
            for _ in range(given.repeats + 1):
                before = time.process_time()
                conjugate_gradients(A, b, lam, tolerance=1e-30, max_iterations=20)
                times.append(time.process_time() - before)
            costs.append(statistics.median(times[1:]))
        xs = [n for n, _ in points]
        yield _fitted(f"growth with {what}, 20 CG iterations", xs, costs)


def _fitted(name: str, xs: list[int], costs: list[float], more: str = "") -> Result:
    """The exponent of cost over x, and the costs relative to the first."""
    exponent = float(np.polyfit(np.log(xs), np.log(costs), 1)[0])
    relatives = ", ".join(f"{x}: {cost / costs[0]:.1f}" for x, cost in zip(xs, costs, strict=True))
    return Result(name, costs[0], {}, {"exponent": f"{exponent:.2f} ({relatives}){more}"})


def _volumes(given: argparse.Namespace) -> Result:
    """`reconstruct` by CG-SENSE of ever more volumes of 100 slices, from file to files: wall time and peak memory."""
    counts = [10, 100, 1000, 10_000][: given.points]
    seconds, peaks = [], []
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            volumes = [write_volume(Path(folder) / f"scan{i:03d}.h5", min(count, 100), 64, 4)
                       for i in range(-(-count // 100))]  # fmt: skip
            job: dict[str, object] = {
                "bundle": None, "files": [str(file) for file in volumes], "out": str(Path(folder) / "out"),
                "method": "cg-sense", "samples": 1, "max_memory": None,
            }  # fmt: skip
            peak, _, taken = measured(job)
        seconds.append(taken)
        peaks.append(peak)
    each = ", ".join(f"{n}: {1e3 * taken / n:.0f}" for n, taken in zip(counts, seconds, strict=True))
    held = ", ".join(f"{n}: {peak / 2**30:.2f}" for n, peak in zip(counts, peaks, strict=True))
    more = f"; ms a slice, start included, {each}; peak GiB {held}"
    return _fitted("growth with slices, reconstruct cg-sense, 4 coils 64²", counts, seconds, more)


def _training_sets(given: argparse.Namespace) -> Result:
    """Training from ever more slices on disk: what opening takes once, and what a batch of 8 takes."""
    counts = [100, 1000, 10_000, 100_000][: given.points]
    found = []
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "scans").mkdir()
            for number in range(count // 100 + 2):  # two are held out
                write_volume(Path(folder) / "scans" / f"file{number:05d}.h5", 100, 32, 2)
            (Path(folder) / "spec.yaml").write_text(SPEC.format(root=folder))
            program = [sys.executable, "-c", TRAINING, str(Path(folder) / "spec.yaml")]
            found.append(json.loads(subprocess.run(program, capture_output=True, text=True, check=True).stdout))
    batches = [one["batch"] for one in found]
    opened = ", ".join(f"{n}: {one['open']:.1f} s" for n, one in zip(counts, found, strict=True))
    held = ", ".join(f"{n}: {one['peak'] / 2**30:.2f}" for n, one in zip(counts, found, strict=True))
    return _fitted("growth with training slices, preparing a batch of 8, 2 coils 32²", counts, batches,
                   f"; start {opened}; peak GiB {held}")  # fmt: skip


def _workers() -> Result:
    """The same batch of volumes on one and on two Dask workers of one thread each: wall time."""
    from ambient_mri.reconstruction.batch import reconstruct

    size, slices, seconds = 256, 12, []
    for workers in (1, 2):
        with tempfile.TemporaryDirectory() as folder, ExitStack() as running:
            files = [write_volume(Path(folder) / f"scan{i}.h5", slices, size, 8) for i in range(4)]
            address = _cluster(running, Path(folder), workers)
            for out in ("first", "timed"):  # programs import what they need at the first
                before = time.perf_counter()
                reconstruct(
                    None, files, Path(folder) / out, method="cg-sense", cluster=address, progress=lambda _: None
                )
            seconds.append(time.perf_counter() - before)
    return Result("growth with workers, reconstruct cg-sense of 4 volumes", seconds[0], {},
                  {"two workers": f"{seconds[0] / seconds[1]:.2f} times as fast as one"})  # fmt: skip


def _cluster(running: ExitStack, folder: Path, workers: int) -> str:
    """The address of a scheduler with so many workers, all of which end with `running`."""
    where = folder / "scheduler.json"

    def begin(*words: str) -> None:
        program = subprocess.Popen([sys.executable, "-m", "distributed.cli.dask_" + words[0], *words[1:]],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
        running.callback(program.wait)
        running.callback(program.terminate)

    begin("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(where))
    deadline = time.monotonic() + 120
    while not where.exists() or not where.read_text().endswith("}"):
        if time.monotonic() > deadline:
            sys.exit("Dask's scheduler did not start: is the extra 'cluster' installed?")
        time.sleep(0.1)
    address: str = json.loads(where.read_text())["address"]
    for _ in range(workers):
        begin("worker", address, "--nthreads", "1", "--no-dashboard")
    from distributed import Client

    with Client(address, set_as_default=False) as client:
        client.wait_for_workers(workers)
    return address

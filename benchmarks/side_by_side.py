"""Two programs that do the same work, timed in turns in one process, and what came of it as a table."""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import torch
from torch import Tensor

from ambient_mri.data.cohort import subject
from ambient_mri.data.simulation import Acquisition, simulate_scan
from ambient_mri.measurement import Measurement, collate
from ambient_mri.patterns import RandomLines

Work = Callable[[], Tensor]


@dataclass(frozen=True)
class Row:
    """Median seconds of the same work, and how far the results are from each other."""

    work: str
    ours: float
    theirs: float
    note: str


def scans(count: int, size: int, coils: int) -> Measurement:
    """Synthetic brains, one in four phase-encode lines measured, noise .02."""
    law = Acquisition(RandomLines(4), coils=coils, noise_std=0.02)
    return collate([simulate_scan(subject(i, size=size).images[0], law, f"scan-{i}").measurement for i in range(count)])


def arguments(description: str, repeats: int) -> argparse.Namespace:
    """What every benchmark can be told."""
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=repeats, help="default: %(default)s")
    parser.add_argument("--small", action="store_true", help="one small setting, to see that it runs")
    parser.add_argument(
        "--cpu-time", action="store_const", dest="clock", const=time.process_time, default=time.perf_counter,
        help="of the processor, not of the clock on the wall: for one thread on a machine that is busy",
    )  # fmt: skip
    return parser.parse_args()


def in_turns(ours: Work, theirs: Work, given: argparse.Namespace) -> tuple[float, float]:
    """Median seconds of each; who goes first changes from round to round. Run both once before."""
    seconds: dict[Work, list[float]] = {ours: [], theirs: []}
    for turn in range(given.repeats):
        for work in (ours, theirs) if turn % 2 else (theirs, ours):
            started = given.clock()
            work()
            seconds[work].append(given.clock() - started)
    return statistics.median(seconds[ours]), statistics.median(seconds[theirs])


def agreement(ours: Tensor, theirs: Tensor, tolerance: float) -> float:
    """Relative difference; stops the benchmark where the two did not do the same work."""
    difference = float((ours - theirs).norm() / theirs.norm())
    if difference > tolerance:
        sys.exit(f"the results differ by {difference:.2g}, more than {tolerance:g}: nothing to compare")
    return difference


def table(rows: Sequence[Row], note: str) -> str:
    """Markdown; a ratio above 1 means that ambient-mri is faster, and the table says who is."""
    heads = ("work", "ambient-mri (ms)", "sigpy (ms)", "sigpy / ambient-mri", "faster", note)
    lines = [heads, ("---",) * len(heads)]
    for row in rows:
        ratio = row.theirs / row.ours
        faster = "ambient-mri" if ratio > 1 else "sigpy"
        lines.append((row.work, f"{1e3 * row.ours:.2f}", f"{1e3 * row.theirs:.2f}", f"{ratio:.2f}", faster, row.note))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def machine(given: argparse.Namespace) -> str:
    """Where and how this was timed, for the caption of a table."""
    known = Path("/proc/cpuinfo")
    lines = known.read_text().splitlines() if known.exists() else []
    model = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.processor())
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "sigpy", "numpy"))
    cores, threads, python = os.cpu_count(), torch.get_num_threads(), platform.python_version()
    clock = "processor time" if given.clock is time.process_time else "wall time"
    return f"{model}, {cores} cores, {threads} threads, {clock}, median of {given.repeats}; Python {python}, {packages}"

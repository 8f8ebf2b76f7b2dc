"""How many slices and samples a job works on at once, so that it stays within a stated amount of memory.

The figures are estimates on the safe side, held against measured peaks by `benchmarks/memory.py`.
"""

from __future__ import annotations

import ctypes
import resource
import sys
from dataclasses import dataclass
from pathlib import Path

from ambient_mri.errors import InputError
from ambient_mri.prior.network import Architecture
from ambient_mri.sampling.mmps import SOLVES

GIB = 2**30
COMPLEX = 8
SLICES, ROWS = 16, 32
"""At most so many at once, however much memory there is: more is not faster."""
SAMPLES_AT_ONCE = 2**22
"""Complex k-space samples a batch where no bound is stated: 32 MiB."""
PIXELS_AT_ONCE = 2**20
"""Of the network, where no bound is stated; a quarter of them where its derivative is asked for."""

SOLVER_COPIES = 12
"""Copies of the k-space of a slice that solvers and checks hold at once."""
MAPS_COPIES = 5
"""Copies of the coil covariance `(c, c, y, x)` while maps are estimated, one slice at a time."""
VOXEL = 36
"""Bytes a voxel of the volume: the complex image, its magnitude, deviation, and copies while files are written."""
WIDTH_COPIES = 20
"""Feature maps of the first level that a forward pass holds at once."""
ATTENTION_COPIES = 3
GRAPH_COPIES, GRAPH_ATTENTIONS = 60, 4
"""The same, but of every stage, and kept until no derivative of its output is asked for any more. Measured: 53 to 60
and one in each of the four attentions of a stage, in float32; half of it in bfloat16."""
ROW_COPIES = 6
"""Copies of its k-space that a row of a sampler holds; `mmps` also keeps a direction a solve."""


@dataclass(frozen=True)
class Plan:
    """Slices of a batch, and rows (slices times samples) of a batch of the network."""

    slices: int
    rows: int


def plan(
    shape: tuple[int, int, int, int], network: Architecture | None, limit: int | None, *, samples: int = 0,
    derivative: bool = False, where: str = "",
) -> Plan:  # fmt: skip
    """How to work on a volume.

    Parameters
    ----------
    shape
        (slices, coils, y, x).
    network
        None where none is used.
    limit
        Bytes that the process may hold, what it holds already included; None: usual sizes of batches.
    samples
        Drawn of each slice; 0: the method draws none, and a row is a slice.
    derivative
        Whether the sampler asks for derivatives of the network.

    Raises
    ------
    InputError
        If one slice does not fit: says what would.
    """
    count, coils, y, x = shape
    if limit is None:
        slices = max(1, min(SLICES, SAMPLES_AT_ONCE // (coils * y * x)))
        pixels = PIXELS_AT_ONCE // 4 if derivative else PIXELS_AT_ONCE
        return Plan(slices, max(1, min(ROWS, pixels // (y * x))))
    whole = VOXEL * count * y * x
    maps = MAPS_COPIES * coils**2 * y * x * COMPLEX if coils > 1 else 0
    one_slice = (SOLVER_COPIES * coils + samples + 5) * y * x * COMPLEX
    one_row = 0 if network is None else network_bytes(network, (y, x), derivative=derivative)
    if samples:
        one_row += (ROW_COPIES + SOLVES * derivative) * coils * y * x * COMPLEX
    held = held_now()
    room = limit - held - whole
    least = max(maps, one_row) + one_slice
    if room < least:
        needed = -(-(held + whole + least) * 10 // GIB) / 10
        raise InputError(
            f"{count} slices of {coils} coils, {y} x {x}, need {needed:.1f} GiB even one slice at a time, and "
            f"--max-memory is {limit / GIB:.1f} GiB", where=where,
            remedy=f"Give --max-memory {needed:.1f}G or more" + (", or compress the coils" if maps > one_row else ""),
        )  # fmt: skip
    slices = max(1, min(SLICES, (room - max(maps, one_row)) // one_slice))
    rows = ROWS if one_row == 0 else max(1, min(ROWS, (room - slices * one_slice) // one_row))
    return Plan(int(slices), int(rows))


def network_bytes(network: Architecture, shape: tuple[int, int], *, derivative: bool = False) -> int:
    """What a pass holds of one row: feature maps of the first level, attention at the last; with a `derivative` also
    those of all stages, until the last backward pass."""
    folded = (shape[0] * shape[1]) / network.patch**2
    tokens = folded / 4 ** (len(network.channels) - 1)
    heads = network.channels[-1] / min(32, network.channels[-1])
    widths, attentions = WIDTH_COPIES, ATTENTION_COPIES
    if derivative:
        widths, attentions = widths + GRAPH_COPIES * network.stages, attentions + GRAPH_ATTENTIONS * network.stages
    return int(4 * (widths * network.channels[0] * folded + attentions * heads * tokens**2))


def held_now() -> int:
    """Resident bytes of this process; where the system does not say, the most it ever held.

    What earlier cases freed goes back to the system first: the C library keeps it for the next request, as the program
    asks it to (`cli.allocator`), and it would count as held (measured after one case of `a-dps`: .7 GiB).
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:  # glibc has it, musl not
        trim(0)
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * resource.getpagesize()
    return peak()


def peak() -> int:
    """The most that this process ever held, in bytes."""
    status = Path("/proc/self/status")
    if status.exists():  # the kernel's ru_maxrss begins at what the parent held when it forked
        held = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(held.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit

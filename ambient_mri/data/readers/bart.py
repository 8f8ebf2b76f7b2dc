"""BART's `.cfl`/`.hdr` pairs: complex64 in column-major order, up to 16 dimensions.

Dimensions (BART, `src/misc/mri.h`): 0 readout, 1 and 2 phase encode, 3 coils, 13 slices. What was measured is never
inferred from zeros: it comes from a pattern file, which `bart pattern kspace pattern` makes.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from ambient_mri.data.readers.kspace import SampledVolume, sliced
from ambient_mri.errors import InputError

READOUT, PHASE_1, PHASE_2, COILS, SLICES = 0, 1, 2, 3, 13
USED = (READOUT, PHASE_1, PHASE_2, COILS, SLICES)


def is_bart(path: Path) -> bool:
    """Whether the path is one half of a pair, or its stem, by the header's first line."""
    header = halves(path)[1]
    try:
        with header.open("rb") as file:
            return file.read(64).startswith(b"# Dimensions")
    except OSError:
        return False


def open_volume(path: Path, pattern: Path | None = None) -> SampledVolume:
    """K-space, mapped from the file (2-D and multi-slice) or transformed into slices (3-D).

    Parameters
    ----------
    path
        The `.cfl`, the `.hdr` or their stem.
    pattern
        A cfl of 0 and 1 over the phase-encode dimensions; None: the file does not say what was measured.

    Raises
    ------
    InputError
        If a half is missing, sizes disagree, other dimensions are used, or the pattern does not fit.
    """
    cfl = halves(path)[0]
    samples = _used(_mapped(path), cfl)  # (readout, phase 1, phase 2, coils, slices)
    _, lines, partitions, _, slices = samples.shape
    mask = None if pattern is None else _mask(pattern, (lines, partitions))
    if partitions == 1:
        line_mask = None if mask is None else torch.from_numpy(mask)
        return SampledVolume(cfl, cfl.stem, samples[:, :, 0].transpose(3, 2, 0, 1), line_mask)
    if slices > 1:
        raise InputError(f"{slices} slabs of 3-D k-space", where=str(cfl), remedy="`bart slice 13 N` takes one out")
    volume = sliced(np.array(samples[..., 0].transpose(3, 2, 0, 1), dtype=np.complex64, order="C"), mask, str(cfl))
    return SampledVolume(cfl, cfl.stem, volume.samples, volume.mask)


def _mask(pattern: Path, steps: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """Bool `(partitions, lines)`."""
    where = str(halves(pattern)[0])
    values = _used(_mapped(pattern), Path(where))
    if values.shape[1:3] != steps:
        raise InputError(f"a pattern of {values.shape[1:3]} steps for k-space of {steps}", where=where)
    if not np.isin(values, (0, 1)).all():
        raise InputError("a pattern holds 0 and 1 only", where=where, remedy="`bart pattern kspace pattern` makes one")
    measured = values.astype(bool)
    across: npt.NDArray[np.bool_] = np.asarray(measured.any(axis=(0, 3, 4)))
    if (measured != across[None, :, :, None, None]).any():
        raise InputError("the pattern changes along the readout, coils or slices", where=where)
    if not across.any():
        raise InputError("nothing was measured: the pattern is 0 everywhere", where=where)
    return np.ascontiguousarray(across.T)


def _used(samples: npt.NDArray[Any], path: Path) -> npt.NDArray[Any]:
    """The dimensions in use; the others must be 1."""
    others = [d for d, n in enumerate(samples.shape) if n > 1 and d not in USED]
    if others:
        raise InputError(
            f"dimension {others[0]} has {samples.shape[others[0]]} entries; images are made from one set of readout, "
            "phase encode, coils and slices", where=str(path), remedy=f"`bart slice {others[0]} N` takes one out",
        )  # fmt: skip
    return samples.reshape([samples.shape[d] for d in USED], order="F")


def _mapped(path: Path) -> npt.NDArray[Any]:
    cfl, header = halves(path)
    for half in (cfl, header):
        if not half.is_file():
            raise InputError("there is no such file: a cfl and its hdr belong together", where=str(half))
    text = header.read_text(encoding="ascii", errors="replace")
    found = re.match(r"# Dimensions\s+((?:\d+[ \t]*)+)", text)
    sizes = [int(n) for n in found[1].split()] if found else []
    if not sizes or min(sizes) < 1 or len(sizes) > 16:
        raise InputError("no dimensions in the header", where=str(header), remedy="Expected '# Dimensions', then sizes")
    sizes += [1] * (16 - len(sizes))
    wanted, there = 8 * math.prod(sizes), cfl.stat().st_size
    if there != wanted:
        fault = "truncated" if there < wanted else "longer than its header says"
        raise InputError(f"the file is {fault}: {there} bytes, {wanted} expected", where=str(cfl))
    mapped: npt.NDArray[Any] = np.memmap(cfl, dtype="<c8", mode="r", shape=tuple(sizes), order="F")
    return mapped


def halves(path: Path) -> tuple[Path, Path]:
    """The `.cfl` and the `.hdr` of a pair, of which the path is one or the stem."""
    stem = path.with_suffix("") if path.suffix in (".cfl", ".hdr") else path
    return stem.with_name(stem.name + ".cfl"), stem.with_name(stem.name + ".hdr")

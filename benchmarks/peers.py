"""Programs that do the same work, each in a process of its own, timed in turns by the processor seconds of one thread.

deepinv, mrpro and bartorch are installed on first use into folders of their own beside this file, without their
dependencies on torch and torchvision; BART is taken from the path (Debian: `apt-get install bart`).
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from torch import Tensor

HERE = Path(__file__).parent
PACKAGES = {
    "deepinv": ["deepinv==0.5.0", "torchmetrics", "lightning-utilities", "natsort"],
    "mrpro": ["mrpro==0.261015", "torchnd", "pypulseq", "pytorch-finufft", "ptwt", "finufft", "einops", "ismrmrd",
              "platformdirs", "xsdata"],
    "bartorch": ["bartorch==0.0.17"],
}  # fmt: skip
ACCEPT = Callable[[np.ndarray, np.ndarray], tuple[bool, str]]


@dataclass(frozen=True)
class Result:
    """Median processor seconds of ours, of each peer that gave an equal answer, and what became of the others."""

    work: str
    ours: float
    peers: dict[str, float]
    notes: dict[str, str]


def folder(peer: str) -> Path | None:
    """Where a peer lies, installed if it was not; None for those that need no folder."""
    if peer not in PACKAGES:
        return None
    there = Path(os.environ.get("AMBIENT_MRI_PEERS", HERE / ".peers")) / peer
    if not there.exists():
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(there)]
        subprocess.run([*pip, *PACKAGES[peer]], check=True, timeout=600)
    return there


class Contestant:
    """A peer that has answered once and repeats on request."""

    def __init__(self, peer: str, work: str, inputs: Path, answer: Path) -> None:
        there = folder(peer)
        if peer == "BART" and shutil.which("bart") is None:
            raise RuntimeError("bart is not installed")
        paths = [str(there), str(HERE / "stubs")] if there else []
        environment = os.environ | {
            "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1",
            "MALLOC_MMAP_THRESHOLD_": str(2**30), "MALLOC_TRIM_THRESHOLD_": str(2**30),  # the same mended one for all
            "PYTHONPATH": os.pathsep.join([*paths, str(HERE.parent)]),
            "TMPDIR": str(inputs.parent),  # what it writes ends with the comparison
        }  # fmt: skip
        command = [sys.executable, str(HERE / "peer_work.py"), peer, work, str(inputs), str(answer)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        self._line("ready")
        self.answer = np.load(answer)

    def _line(self, expected: str = "") -> str:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if not expected or line.strip() == expected:
                return line
        assert self.process.stderr is not None
        raise RuntimeError((self.process.stderr.read().strip().splitlines() or ["ended without a word"])[-1][:160])

    def seconds(self) -> float:
        """Of one repetition."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self._line())

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def compare(name: str, work: str, inputs: dict[str, Tensor], peers: list[str], accept: ACCEPT, repeats: int) -> Result:
    """Time ours and those peers whose answer `accept` finds equal to ours, in turns that change their order.

    Parameters
    ----------
    accept
        Of our answer and a peer's: whether the two may be compared, and why or how close.
    """
    contestants: dict[str, Contestant] = {}
    notes: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as scratch:
        np.savez(Path(scratch) / "in.npz", **{key: value.numpy() for key, value in inputs.items()})
        for peer in ["ambient-mri", *peers]:
            try:
                found = Contestant(peer, work, Path(scratch) / "in.npz", Path(scratch) / f"{peer}.npy")
            except (RuntimeError, OSError, subprocess.SubprocessError) as problem:
                if peer == "ambient-mri":
                    raise
                notes[peer] = f"not compared: {problem}"
                continue
            if peer != "ambient-mri":
                equal, notes[peer] = accept(contestants["ambient-mri"].answer, found.answer)
                if not equal:
                    notes[peer] = f"not compared, answers differ: {notes[peer]}"
                    found.close()
                    continue
            contestants[peer] = found
        seconds: dict[str, list[float]] = {peer: [] for peer in contestants}
        for turn in range(repeats):
            for peer in list(contestants) if turn % 2 else list(contestants)[::-1]:
                seconds[peer].append(contestants[peer].seconds())
        for contestant in contestants.values():
            contestant.close()
    medians = {peer: statistics.median(values) for peer, values in seconds.items()}
    ours = medians.pop("ambient-mri")
    return Result(name, ours, medians, notes)


def relative(tolerance: float) -> ACCEPT:
    """‖ours − theirs‖ / ‖theirs‖ of at most `tolerance`."""

    def accept(ours: np.ndarray, theirs: np.ndarray) -> tuple[bool, str]:
        if ours.shape != theirs.shape:
            return False, f"shapes {ours.shape} and {theirs.shape}"
        difference = float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))
        return difference <= tolerance, f"relative difference {difference:.1g}"

    return accept


def same(least: float) -> ACCEPT:
    """At least this share of the answers is the same."""

    def accept(ours: np.ndarray, theirs: np.ndarray) -> tuple[bool, str]:
        share = float((ours == theirs).mean())
        return share >= least, f"{share:.2%} the same"

    return accept


def correlated(least: float) -> ACCEPT:
    """Mean correlation over coils of two sets of maps `(c, y, x)`, where both have support."""

    def accept(ours: np.ndarray, theirs: np.ndarray) -> tuple[bool, str]:
        lengths = [np.linalg.norm(maps, axis=0) for maps in (ours, theirs)]
        both = (lengths[0] > 0) & (lengths[1] > 0)
        overlap = np.abs((ours.conj() * theirs).sum(0))[both] / (lengths[0] * lengths[1])[both]
        apart = float(((lengths[0] > 0) != (lengths[1] > 0)).mean())
        return float(overlap.mean()) >= least, f"correlation {overlap.mean():.6f}, support differs in {apart:.2%}"

    return accept


def no_worse(truth: np.ndarray, factor: float) -> ACCEPT:
    """Our error against the `truth` at most `factor` times theirs, each scaled to fit."""

    def error(image: np.ndarray) -> float:
        fitted = image * (np.vdot(image, truth) / np.vdot(image, image))
        return float(np.linalg.norm(fitted - truth) / np.linalg.norm(truth))

    def accept(ours: np.ndarray, theirs: np.ndarray) -> tuple[bool, str]:
        first, second = error(ours), error(theirs)
        return first <= factor * second, f"NRMSE {first:.4f} against {second:.4f}"

    return accept

"""A training on disk: `run.json` says what it is, `checkpoint.safetensors` where it stands; each replaced at once."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save

from ambient_mri import files
from ambient_mri.errors import InputError
from ambient_mri.prior.learner import PEAK_RATE, Learner

CHECKPOINT, RUN, LOG = "checkpoint.safetensors", "run.json", "training.jsonl"
BEFORE = {"peak_rate": PEAK_RATE}
"""What trainings had that were begun before `run.json` named it."""


def save_checkpoint(folder: Path, learner: Learner) -> None:
    """Write the learner's state."""
    state = {name: value.detach().cpu().contiguous() for name, value in learner.tensors().items()}
    files.write(folder / CHECKPOINT, save(state))


def resume(folder: Path, learner: Learner) -> bool:
    """Load a checkpoint if there is one, and drop log lines that came after it.

    Raises
    ------
    InputError
        If the checkpoint cannot be read or does not fit this network.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        (folder / LOG).unlink(missing_ok=True)
        return False
    try:
        learner.restore(load_file(path))
    except (SafetensorError, KeyError, RuntimeError, ValueError) as problem:
        raise InputError(
            f"the checkpoint cannot be used ({' '.join(str(problem).split())[:200]})", where=str(path),
            remedy="Move it away to start again, or choose another --out",
        ) from problem  # fmt: skip
    log = folder / LOG
    if log.exists():
        lines = [line for line in log.read_text().splitlines() if _step(line) <= learner.step]
        files.write(log, "".join(line + "\n" for line in lines))
    return True


def _step(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return float("inf")  # the line that a kill cut short


def settle(folder: Path, identity: dict[str, Any]) -> None:
    """Note what this folder trains, or refuse if it is something else.

    Raises
    ------
    InputError
        If `folder` holds a training of other data, sizes, seed or method.
    """
    path = folder / RUN
    if path.exists():
        earlier = BEFORE | json.loads(path.read_text())
        for key, value in identity.items():
            if earlier.get(key) != value:
                raise InputError(
                    f"this folder holds a training with {key} = {earlier.get(key)!r}, now asked for {value!r}",
                    where=str(folder), remedy="Choose another --out, or repeat the earlier command to resume",
                )  # fmt: skip
        return
    files.write(path, json.dumps(identity, indent=1) + "\n")

"""`torchrun` with two processes is the same training as one process with the same global batch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.prior.small import SPEC

STEPS = 4
PROGRAM = f"""
import sys
from dataclasses import replace
from pathlib import Path
from ambient_mri.prior import training

training.LOG_STEPS = 1
options = training.TrainOptions(sys.argv[2], Path(sys.argv[1]), preset="tiny", precision="float32")
training.train(replace(options, steps={STEPS}))
"""


def _run(out: Path, *launcher: str) -> list[float]:
    """The losses of a training, in order."""
    program = out.with_suffix(".py")
    program.write_text(PROGRAM)
    spec = out.with_suffix(".yaml")
    spec.write_text(SPEC)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run(
        [sys.executable, *launcher, str(program), str(out), str(spec)], check=True, env=environment, timeout=1500
    )
    entries = [json.loads(line) for line in (out / "training.jsonl").read_text().splitlines()]
    losses = {entry["step"]: entry["loss"] for entry in entries if "loss" in entry}
    assert list(losses) == list(range(1, STEPS + 1))
    return list(losses.values())


@pytest.mark.slow
@pytest.mark.skipif(not torch.distributed.is_available(), reason="this PyTorch has no torch.distributed")
def test_two_processes_train_as_one(tmp_path: Path) -> None:
    alone = _run(tmp_path / "alone")
    together = _run(tmp_path / "together", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    assert together == pytest.approx(alone, rel=1e-4)
    one, two = (load_file(tmp_path / name / "bundle/models/model.safetensors") for name in ("alone", "together"))
    for name, value in one.items():
        assert torch.allclose(value, two[name], atol=1e-4), name

"""A small audit of pictures: of a generator that copies, and of one that does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ambient_mri.audit.augmentation import gamma, noisy, rotated
from ambient_mri.audit.levels import Level
from ambient_mri.cli import main
from ambient_mri.data.dataset import open_evaluation
from ambient_mri.data.spec import load_spec

SPEC = """
based_on: brain_demo
source: {kind: brain_demo, subjects: 64, image_size: 32, seed: 0}
acquisition: {coils: 2}
split: {validation: 16, test: 16, seed: 0}
"""
SMALL = Level(60, 2, None, 20, (0.05, 0.5), 8, 1, 12, 0)


def _pictures(folder: Path, spec: Path, copied: bool) -> Path:
    """Pictures of a generator: blends of unseen subjects, and perhaps each training slice, with other grey values."""
    unseen = torch.cat([truth.abs() for _, truth in open_evaluation(load_spec(str(spec)), "test")])
    rng = torch.Generator().manual_seed(0)
    shuffled = unseen[torch.randperm(len(unseen), generator=rng)]
    images = torch.cat(
        [0.5 * unseen + 0.5 * shuffled, *(rotated(shuffled, rng) * 0.5 + unseen * 0.5 for _ in range(4))]
    )
    if copied:
        train = torch.cat([truth.abs() for _, truth in open_evaluation(load_spec(str(spec)), "train")])
        images = torch.cat([images, noisy(gamma(train, rng), rng)])
    folder.mkdir()
    np.save(folder / "samples.npy", images[:, 0].numpy())
    return folder


def audited(spec: Path, tmp_path: Path, scans: str, *, copied: bool) -> dict[str, Any]:
    """What `audit --samples` finds, kept in `tmp_path / "out"`."""
    folder, out = _pictures(tmp_path / "pictures", spec, copied), tmp_path / "out"
    assert main(["audit", "--samples", str(folder), "--data", str(spec), "--out", str(out), "--scans", scans]) == 0
    document: dict[str, Any] = json.loads((out / "audit.json").read_text())
    assert document["membership"] is None
    return document

"""Samples that a table of generation keeps, and when it draws them again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ambient_mri.generation.drawing import drawn
from ambient_mri.sampling import prior_samples


def test_samples_of_other_noise_levels_are_drawn_again(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prior_samples, "MASKED_STEPS", 2)
    path = drawn(tiny_bundle, 2, tmp_path) / "samples.npy"
    first, stamp = np.load(path), path.stat().st_mtime_ns
    drawn(tiny_bundle, 2, tmp_path)
    assert path.stat().st_mtime_ns == stamp

    monkeypatch.setattr(prior_samples, "MASKED_STEPS", 3)
    drawn(tiny_bundle, 2, tmp_path)
    assert np.abs(np.load(path) - first).max() > 1e-3

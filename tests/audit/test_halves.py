"""T5: two models of disjoint halves."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
import torch

from ambient_mri.audit import levels
from ambient_mri.audit.canaries import epsilon_lower_bound
from ambient_mri.audit.halves import HalvesOptions, audit_halves, disjoint_halves, guessed_halves, sample_agreement
from ambient_mri.audit.levels import Level
from ambient_mri.audit.membership import membership
from ambient_mri.data.readers import SliceRecord
from ambient_mri.data.spec import load_spec
from ambient_mri.data.split import parts
from ambient_mri.errors import InputError

ROOT = Path(__file__).parents[2]
COHORT = """
based_on: brain_demo
source: {subjects: 48, image_size: 32}
split: {validation: 8, test: 8}
"""


def load_spec_part(path: Path) -> tuple[SliceRecord, ...]:
    return parts(load_spec(str(path)))["train"]


def _errors(rng: np.random.Generator, leak: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log errors of 60 patients: mostly how hard each is, a little of either model, less `leak` in the own half."""
    in_first = rng.permutation(60) < 30
    hard = rng.normal(size=(60, 1)) * 0.5
    first, second = (hard + 0.05 * rng.normal(size=(60, 3)) for _ in range(2))
    return first - leak * in_first[:, None], second - leak * ~in_first[:, None], in_first


def test_level_without_a_leak_and_power_where_difficulty_hides_it() -> None:
    rng = np.random.default_rng(0)
    p = [disjoint_halves(*_errors(rng, 0.0), rng).p_value for _ in range(60)]
    assert np.mean(np.array(p) < 0.1) < 0.25
    assert np.mean(p) == pytest.approx(0.5, abs=0.13)
    first, second, in_first = _errors(rng, 0.05)
    found = disjoint_halves(first, second, in_first, rng)
    assert found.p_value < 1e-3
    assert found.mean == pytest.approx(0.1, abs=0.03)  # both models' leaks together
    assert membership(first[in_first], first[~in_first], rng).p_value > 0.01  # T4 alone does not see it


def test_guessed_halves_bound_the_privacy_that_was_lost() -> None:
    rng = np.random.default_rng(1)
    right = [guessed_halves(*_errors(rng, 0.0)) for _ in range(200)]
    assert np.mean(right) == pytest.approx(30, abs=1)
    bounds = [epsilon_lower_bound(count, 60) for count in right]
    assert np.mean(np.array(bounds) > 0) < 0.1, "at most one in twenty bounds above what nothing was lost"
    known = guessed_halves(*_errors(rng, 0.2))
    assert known == 60
    assert epsilon_lower_bound(known, 60) > 2.9


def test_samples_of_models_that_learned_the_same_agree() -> None:
    rng = torch.Generator().manual_seed(0)
    images = torch.randn(20, 1, 8, 8, generator=rng).abs()
    other = torch.randn(20, 1, 8, 8, generator=rng).abs()
    assert sample_agreement(images, images)[0] == pytest.approx(1)
    same, by_chance = sample_agreement(images, other)
    assert abs(same - by_chance) < 0.15


def test_pipeline_trains_compares_and_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(levels.LEVELS, "quick", Level(52, 2, None, 3, (0.1, 0.5), 12, 1, 6, 0))
    cohort, out = tmp_path / "cohort.yaml", tmp_path / "out"
    cohort.write_text(COHORT)
    run = runpy.run_path(str(ROOT / "pipelines" / "disjoint_halves.py"))["main"]
    words = ["--data", str(cohort), "--out", str(out), "--preset", "tiny", "--steps", "2", "--level", "quick"]
    assert run(words) == 0
    assert "T5  p " in capsys.readouterr().out
    document = json.loads((out / "halves.json").read_text())
    sizes = [len(load_spec_part(out / f"{half}.yaml")) for half in ("first", "second")]
    assert document["patients"] == [min(size, 12) for size in sizes]
    assert sum(sizes) == 32
    assert 0 < document["p_value"] <= 1
    page = (out / "halves.html").read_text()
    assert "<svg" in page
    assert "demo-" not in page
    before = (out / "halves.json").read_bytes()
    drawn = (out / "work" / "errors-1.npy").stat().st_mtime_ns
    assert run(words) == 0
    assert (out / "halves.json").read_bytes() == before
    assert (out / "work" / "errors-1.npy").stat().st_mtime_ns == drawn
    assert run([*words[:-1], "standard"]) == 2
    assert "level" in capsys.readouterr().err
    first = str(out / "first.yaml")
    bundles = (out / "first" / "bundle", out / "second" / "bundle")
    with pytest.raises(InputError, match=f"{sizes[0]} patients are in both halves"):
        audit_halves(HalvesOptions(bundles, (first, first), tmp_path / "same"))

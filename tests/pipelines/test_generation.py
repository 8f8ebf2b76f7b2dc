"""The generation table, on 16 × 16 synthetic brains and trainings of one step; and the specs that it derives."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

from ambient_mri.data.dataset import open_scans
from ambient_mri.data.spec import load_spec
from ambient_mri.errors import InputError
from ambient_mri.generation.corruptions import corrupted
from ambient_mri.prior import training

ROOT = Path(__file__).parents[2]
SMALL = """
based_on: brain_demo
source: {subjects: 40, image_size: 16}
split: {validation: 4, test: 16}
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return path


@pytest.mark.slow
def test_table(spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(training, "BATCH", 4)
    run = runpy.run_path(str(ROOT / "pipelines" / "paper_generation_table.py"))["main"]
    out = tmp_path / "out"
    words = ["--data", str(spec), "--out", str(out), "--preset", "tiny", "--steps", "1", "--laps", "1", "--lap-steps"]
    words += ["1", "--nfe", "2", "--number", "16", "--missing", "0", "0.5", "--acceleration"]
    assert run(words) == 0
    text = (out / "results.md").read_text()
    for method in ("ambient", "refined", "naive", "ambientgan", "*floor: real images*"):
        assert f"| p = 0.5 of the pixels missing | {method} |" in text
    assert "| p = 0 of the pixels missing | ambient |" not in text
    assert text.count("paper_generation_table.py --data") == 1
    found = json.loads((out / "results.json").read_text())
    assert [len(section["rows"]) for section in found["sections"]] == [2, 4]
    cards = {
        name: json.loads((out / "pixels_0.5" / name / "bundle/configs/card.json").read_text())
        for name in ("ambient", "refined", "naive", "ambientgan")
    }
    assert {name: card["steps"] for name, card in cards.items()} == {
        "ambient": 1, "refined": 2, "naive": 2, "ambientgan": 2,
    }  # fmt: skip
    assert "Generated images" in (out / "results.html").read_text()

    stamps = {path: path.stat().st_mtime_ns for path in out.rglob("samples.npy")}
    assert len(stamps) == 6
    assert run(words) == 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob("samples.npy")} == stamps
    assert (out / "results.md").read_text() == text
    assert run([*words, "--seed", "1"]) == 2


def test_derived_specs_are_the_same_images_under_other_laws(spec: Path, tmp_path: Path) -> None:
    whole, pixels, lines = corrupted(load_spec(spec), [0, 0.5], [2], tmp_path / "specs")
    assert (whole.whole, pixels.whole, lines.whole) == (True, False, False)
    loaded = [load_spec(case.spec) for case in (whole, pixels, lines)]
    assert len({one.sha256 for one in loaded}) == 3
    scans = [open_scans(one, "train") for one in loaded]
    assert scans[0].ids == scans[1].ids == scans[2].ids
    shares = [float(one[0].mask.float().mean()) for one in scans]
    assert shares[0] == 1
    assert shares[1] == pytest.approx(0.5, abs=0.1)
    assert shares[2] == 0.5
    assert [one[0].y.shape[1] for one in scans] == [1, 1, 4]
    assert load_spec("brain_bids").symmetry is not None
    (moved,) = corrupted(load_spec("brain_bids"), [0.6], [], tmp_path / "moved")
    assert load_spec(moved.spec).symmetry is None, "samples of shifted trainings are shifted"


def test_acquired_kspace_keeps_its_corruption(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="acquired k-space cannot"):
        corrupted(load_spec("knee_fastmri"), [0.5], [], tmp_path)

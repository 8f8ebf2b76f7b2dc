"""Samples on disk beside a data set: the command, its files, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from ambient_mri.cli import main
from ambient_mri.data.cohort import subject
from ambient_mri.generation.results import METRICS

SMALL = """
based_on: brain_demo
source: {subjects: 90, image_size: 16}
acquisition: {pattern: {calibration_fraction: 0.125, acceleration: 2}}
split: {validation: 4, test: 24}
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return path


def _write(path: Path, images: np.ndarray) -> Path:
    np.save(path, images, allow_pickle=False)
    return path


def test_good_samples_beat_bad_ones_and_everything_is_written(
    spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reals = np.stack([subject(1000 + i, size=16).images[0].numpy() for i in range(30)])
    reals *= 0.5 / reals.std()
    noise = np.random.default_rng(0).standard_normal((30, 16, 16))
    words = [f"good={_write(tmp_path / 'good.npy', reals)}", f"bad={_write(tmp_path / 'bad.npy', noise + 1j)}"]
    command = ["compare-samples", *words, "--data", str(spec), "--limit", "24"]
    out = tmp_path / "found"
    assert main([*command, "--json", f"{out}.json", "--html", f"{out}.html"]) == 0
    text, page = capsys.readouterr().out, Path(f"{out}.html").read_text()
    found = json.loads(Path(f"{out}.json").read_text())
    good, bad = found["rows"]
    counts = (good["count"], found["floor"]["count"], found["real"], found["patients"])
    assert (good["name"], *counts) == ("good", 24, 24, 24, 24)
    for key in ("frechet", "kernel", "sliced_wasserstein", "spectrum_db"):
        assert good["figures"][key]["value"] < bad["figures"][key]["value"]
    assert good["figures"].keys() == bad["figures"].keys() == set(METRICS)
    assert "real images" in text
    assert "simulated" in text
    assert "floor: real images" in page
    assert page.count('class="win"') >= 6
    assert "src=" not in page
    assert main(command) == 0
    assert capsys.readouterr().out.splitlines() == text.splitlines()[:-2], "same figures again"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (np.zeros((30, 8, 8)), "the real ones have 16 x 16"),
        (np.zeros((30, 16)), "not images"),
        (np.full((30, 16, 16), np.nan), "not finite"),
        (np.zeros((3, 16, 16)), "too few"),
        (None, "no array of samples"),
    ],
)
def test_bad_samples_are_one_line(
    content: np.ndarray | None, complaint: str, spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "samples.npy"
    path.write_bytes(b"no array") if content is None else _write(path, content)
    assert main(["compare-samples", str(path), "--data", str(spec)]) == 2
    said = capsys.readouterr().err
    assert complaint in said
    assert len(said.strip().splitlines()) == 1


def test_an_archive_and_two_sets_of_one_name_are_refused(
    spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The former ended in a traceback; of the latter one was left out without a word."""
    np.savez(tmp_path / "several.npz", samples=np.zeros((30, 16, 16)))
    archive = str(tmp_path / "several.npz")
    assert main(["compare-samples", archive, "--data", str(spec)]) == 2
    assert "an archive of several arrays" in capsys.readouterr().err
    assert main(["compare-samples", f"ours={archive}", f"ours={tmp_path}", "--data", str(spec)]) == 2
    assert "two sets have one name" in capsys.readouterr().err

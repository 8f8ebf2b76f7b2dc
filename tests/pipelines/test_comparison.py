"""The pipelines of trained models, on a small copy of the built-in cohort and trainings of two steps."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from ambient_mri.data.prospective import simulate_files
from ambient_mri.data.spec import load_spec
from ambient_mri.evaluation.results import Evaluation
from ambient_mri.reconstruction.methods import METHODS, applies, needs_network

ROOT = Path(__file__).parents[2]
Pipeline = Callable[[list[str]], int]

SMALL = """
based_on: brain_demo
source: {subjects: 24, image_size: 32}
split: {validation: 2, test: 2}
"""
CLEAN = """
based_on: small.yaml
acquisition:
  pattern: {kind: fully_sampled}
  further: {pattern: {kind: random_lines, acceleration: 4, calibration_fraction: 0.08}}
"""


def _pipeline(name: str) -> Pipeline:
    main: Pipeline = runpy.run_path(str(ROOT / "pipelines" / f"{name}.py"))["main"]
    return main


@pytest.mark.usefixtures("untuned")
def test_corrupted_beside_clean(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "small.yaml").write_text(SMALL)
    (tmp_path / "clean.yaml").write_text(CLEAN)
    out, run = tmp_path / "out", _pipeline("corrupted_vs_clean")
    words = ["--data", str(tmp_path / "small.yaml"), "--clean", str(tmp_path / "clean.yaml"), "--out", str(out)]
    words += ["--preset", "tiny", "--steps", "2", "--acceleration", "4", "--tuning-slices", "1"]
    assert run(words) == 0
    said = capsys.readouterr().out
    joined = Evaluation.from_json((out / "results.json").read_text())
    names = ("ambient", "clean", "unweighted", "naive", "ssdu")
    learned = [f"{method}, {name}" for method in METHODS if needs_network(method) for name in names]
    classical = [name for name in METHODS if applies(name, "kspace") and not needs_network(name)]
    assert sorted(row.method for row in joined.rows) == sorted(learned + classical)
    assert (joined.slices, joined.patients, joined.simulated) == (2, 2, True)
    assert {gain.acceleration for gain in joined.gains} == {4}
    figures = {row.method: row.psnr.mean for row in joined.rows}
    assert len({round(figures[f"one-step, {name}"], 6) for name in names}) == 5, "five trainings, five networks"
    for name in names:
        assert f"| one-step, {name} |" in (out / "results.md").read_text()
        assert "Reconstruction by one-step" in (out / f"{name}.html").read_text()
        card = json.loads((out / name / "bundle/configs/card.json").read_text())
        assert (card["steps"], card["data"]) == (2, "clean" if name == "clean" else "small")
        assert f"{name}: {out}" in said

    before = {path.name: path.stat().st_mtime_ns for path in out.glob("*.html") if path.stem != "results"}
    assert run(words) == 0
    again = capsys.readouterr().out
    assert f": {out}" not in again, "finished evaluations are not repeated"
    assert {path.name: path.stat().st_mtime_ns for path in out.glob("*.html") if path.stem != "results"} == before
    assert Evaluation.from_json((out / "results.json").read_text()).rows == joined.rows
    logged = (out / "naive" / "training.jsonl").read_text().splitlines()
    assert {json.loads(line)["step"] for line in logged} == {2}, "finished trainings are not repeated"

    assert run([*words, "--limit", "1"]) == 0
    assert Evaluation.from_json((out / "results.json").read_text()).slices == 1
    assert run([*words, "--seed", "1"]) == 2, "another training in the same folder"
    assert "seed = 0, now asked for 1" in capsys.readouterr().err


def test_a_folder_of_scans_and_its_summary(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scans, out, run = tmp_path / "scans", tmp_path / "out", _pipeline("reconstruct_folder")
    simulate_files(load_spec("brain_demo"), out=scans, limit=2)
    words = [str(scans), "--bundle", str(tiny_bundle), "--out", str(out)]
    assert run(words) == 0
    names = [path.stem for path in sorted(scans.glob("*.h5"))]
    assert len(names) == 2
    assert all((out / f"{name}{suffix}").is_file() for name in names for suffix in (".nii.gz", ".h5", ".png"))
    assert "2 done now, 0 before" in (out / "summary.md").read_text()
    assert f"| {names[0]} | 1 | 4.00 | " in (out / "summary.md").read_text()

    bad = scans / "bad.h5"
    bad.write_bytes((scans / f"{names[0]}.h5").read_bytes())
    with h5py.File(bad, "r+") as file:
        file["kspace"][...] = np.nan
    assert run(words) == 3
    summary = (out / "summary.md").read_text()
    assert "0 done now, 2 before" in summary
    assert "bad.h5" in summary.splitlines()[-1]
    capsys.readouterr()
    assert run([str(tmp_path / "none"), *words[1:]]) == 2
    assert "no *.h5 in this folder" in capsys.readouterr().err


@pytest.mark.usefixtures("untuned")
def test_radial_scans_beside_classical_methods(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "small.yaml").write_text(SMALL.replace("image_size: 32", "image_size: 16"))
    run, out = _pipeline("reconstruct_radial"), tmp_path / "out"
    words = [str(tiny_bundle), "--data", str(tmp_path / "small.yaml"), "--spokes", "6", "--limit", "1"]
    words += ["--tuning-slices", "1", "--out", str(out)]
    assert run(words) == 0
    found = Evaluation.from_json((out / "results.json").read_text())
    assert [row.method for row in found.rows] == ["one-step", "plug-and-play", "cg-sense", "l1-wavelet", "tv"]
    assert all(row.psnr.mean > 12 and row.strength for row in found.rows)
    assert {row.acceleration for row in found.rows} == {4.19}
    assert "| 4.19 | one-step |" in (out / "results.md").read_text()
    assert run([str(tmp_path), *words[1:]]) == 2
    assert "no model bundle here" in capsys.readouterr().err
    for flag in ("--spokes", "--limit", "--tuning-slices"):
        with pytest.raises(SystemExit):
            run([*words, flag, "0"])
        assert "0 is not a positive whole number" in capsys.readouterr().err


@pytest.mark.usefixtures("untuned")
def test_volumes_beside_classical_methods(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "volumes.yaml").write_text(SMALL.replace("image_size: 32", "image_size: 16, slices: 3"))
    run, out = _pipeline("reconstruct_volume"), tmp_path / "out"
    words = [str(tiny_bundle), "--data", str(tmp_path / "volumes.yaml"), "--acceleration", "3", "--limit", "1"]
    words += ["--tuning-volumes", "1", "--out", str(out)]
    assert run(words) == 0
    found = Evaluation.from_json((out / "results.json").read_text())
    assert [row.method for row in found.rows] == ["one-step", "plug-and-play", "cg-sense", "l1-wavelet", "tv"]
    assert (found.slices, found.volumes, found.simulated) == (3, 1, True)
    assert all(row.psnr.mean > 10 and row.strength for row in found.rows)
    for flag in ("--limit", "--tuning-volumes"):
        with pytest.raises(SystemExit):
            run([*words, flag, "0"])
        assert "0 is not a positive whole number" in capsys.readouterr().err
    (tmp_path / "slices.yaml").write_text(SMALL)
    assert run([words[0], "--data", str(tmp_path / "slices.yaml"), *words[3:]]) == 2
    assert "a volume of one slice" in capsys.readouterr().err

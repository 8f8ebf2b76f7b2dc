"""An audit from end to end: resumes, repeats to the byte, finds a generator that copies, leaks no name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import torch

from ambient_mri.audit import levels
from ambient_mri.audit.levels import Level
from ambient_mri.audit.results import SCHEMA
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


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(levels.LEVELS, "quick", SMALL)
    path = tmp_path / "small.yaml"
    path.write_text(SPEC)
    return path


def _pictures(folder: Path, spec: Path, copied: bool) -> Path:
    """Pictures of a generator: blends of unseen subjects, and perhaps each training slice, with other grey values."""
    from ambient_mri.audit.augmentation import gamma, noisy, rotated

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


def test_bundle_is_audited_resumed_and_repeated_to_the_byte(
    spec: Path, tmp_path: Path, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(levels.LEVELS, "quick", Level(52, 2, 16, 3, (0.5,), 6, 1, 6, 0))
    out = tmp_path / "audit"
    command = ["audit", str(tiny_bundle), "--data", "brain_demo", "--out", str(out), "--reference", "brain_flair_64"]
    command += ["--seed", "1"]
    assert main(command) == 0
    said = capsys.readouterr()
    kept = {name: (out / name).read_bytes() for name in ("audit.json", "report.html", "annex.html", "annex_key.csv")}
    document = json.loads(kept["audit.json"])
    jsonschema.validate(document, json.loads(SCHEMA.read_text("utf-8")))
    assert [test["name"] for test in document["tests"]] == ["T1", "T3", "T4"]
    assert document["data"]["simulated"]
    assert "FLAIR" in document["membership"]["reference"]
    assert np.load(out / "work" / "withheld-reference-hold.npy").shape == (6, 1)
    assert "brain_flair_64 --seed 1" in document["command"]
    assert "of 52 samples" in said.err
    assert "copied patients make the patient test significant" in said.err  # the power, before the run
    for name in ("audit.json", "report.html"):
        assert b"demo-0" not in kept[name]
    assert "demo-0" not in said.out + said.err
    assert b"demo-0" in kept["annex_key.csv"]
    for name in ("annex.html", "annex_key.csv", "work"):
        assert (out / name).stat().st_mode & 0o077 == 0

    drawn = (out / "work" / "samples-000000-000052.npy").stat().st_mtime_ns
    (out / "report.html").unlink()
    assert main(command) == 0
    assert (out / "work" / "samples-000000-000052.npy").stat().st_mtime_ns == drawn
    assert {name: (out / name).read_bytes() for name in kept} == kept

    assert main([*command[:-1], "2"]) == 2
    assert "another audit is kept here" in capsys.readouterr().err
    (out / "work" / "scans.sha256").write_text("of other scans\n")
    assert main(command) == 2
    assert "the scans have changed since this audit was begun" in capsys.readouterr().err
    assert (
        main(["audit", "compare", str(out / "audit.json"), str(out / "audit.json"), "--out", str(out / "c.html")]) == 0
    )
    assert "| verdict |" in capsys.readouterr().out


def test_a_reference_that_knows_the_same_patients_is_refused(
    tmp_path: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["audit", str(tiny_bundle), "--data", "brain_demo", "--out", str(tmp_path / "audit")]
    assert main([*command, "--reference", str(tiny_bundle)]) == 2
    assert "learned from brain_demo too" in capsys.readouterr().err
    (tmp_path / "larger.yaml").write_text("based_on: brain_demo\nacquisition: {coils: 8}\n")
    assert main([*command, "--data", str(tmp_path / "larger.yaml"), "--reference", str(tiny_bundle)]) == 2
    assert "learned from brain_demo too" in capsys.readouterr().err
    assert main([*command, "--access", "samples", "--reference", "brain_flair_64"]) == 2
    assert "--reference: is for T4, which needs the model itself" in capsys.readouterr().err


def _audited(spec: Path, tmp_path: Path, scans: str, copied: bool) -> dict[str, Any]:
    folder, out = _pictures(tmp_path / f"pictures-{copied}", spec, copied), tmp_path / f"out-{copied}"
    assert main(["audit", "--samples", str(folder), "--data", str(spec), "--out", str(out), "--scans", scans]) == 0
    document: dict[str, Any] = json.loads((out / "audit.json").read_text())
    assert document["membership"] is None
    return document


def test_pictures_that_copy_are_detected(spec: Path, tmp_path: Path) -> None:
    document = _audited(spec, tmp_path, "images", copied=True)
    assert max(test["p_raw"] for test in document["tests"]) < 0.01
    assert len(document["detections"]) >= 16  # of 32 patients, all copied
    report = (tmp_path / "out-True" / "report.html").read_text()
    assert document["detections"][0]["pseudonym"] in report


CONTROL = "a network overfitted to 20 patients is detected"


def _controlled(spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int) -> dict[str, Any]:
    """The audit of an innocent generator, with a control of so many training steps."""
    level = replace(SMALL, control_steps=steps, sampler_steps=2 if steps == 1 else 5)
    monkeypatch.setitem(levels.LEVELS, "quick", level)
    document = _audited(spec, tmp_path, "measured", copied=False)
    work = tmp_path / "out-False" / "work"
    assert not (work / "control").exists()  # it knew patients by heart
    assert set(json.loads((work / "control.json").read_text())) == {"p_value", "patients"}
    assert not any("no overfitted generator" in line for line in document["limitations"])
    return document


def test_a_control_that_learned_nothing_makes_silence_invalid(
    spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = _controlled(spec, tmp_path, monkeypatch, 1)
    [gate] = [gate for gate in document["gates"] if gate["name"] == CONTROL]
    assert not gate["passed"]
    assert gate["guards"] == "missed copies"
    assert document["verdict"] == "INVALID"
    assert CONTROL in document["sentences"][0]


@pytest.mark.slow
def test_a_control_that_learned_its_patients_by_heart_is_detected(
    spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = _controlled(spec, tmp_path, monkeypatch, 1000)
    [gate] = [gate for gate in document["gates"] if gate["name"] == CONTROL]
    assert gate["passed"], gate


@pytest.mark.slow
@pytest.mark.parametrize("copied", [False, True])
def test_corrupted_scans_suffice(spec: Path, tmp_path: Path, copied: bool) -> None:
    document = _audited(spec, tmp_path, "measured", copied)
    smallest = min(test["p_raw"] for test in document["tests"])
    assert smallest < 1e-3 if copied else smallest > 0.01
    assert document["verdict"] != "DETECTED" or copied


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (["audit", "--data", "brain_demo", "--out", "x"], "either one bundle or --samples"),
        (["audit", "a", "--out", "x"], "--data: is needed"),
        (["audit", "nowhere", "--data", "brain_demo", "--out", "x"], "no model bundle"),
        (["audit", "--samples", "nowhere", "--data", "brain_demo", "--out", "x"], "no such file or folder"),
        (["audit", "compare", "a.json"], "two or more"),
        (["audit", "compare", "a.json", "b.json"], "cannot be read"),
    ],
)
def test_bad_input_is_one_line(
    command: list[str], complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(command) == 2
    error = capsys.readouterr().err
    assert complaint in error
    assert "Traceback" not in error


def test_pictures_of_every_format_are_read(tmp_path: Path) -> None:
    import nibabel
    from PIL import Image

    from ambient_mri.audit import generator
    from ambient_mri.errors import InputError

    rng = np.random.default_rng(0)
    Image.fromarray((255 * rng.random((40, 36))).astype(np.uint8)).save(tmp_path / "a.png")
    np.save(tmp_path / "b.npy", rng.random((3, 32, 32)).astype(np.float32))
    np.save(tmp_path / "c.npy", (rng.random((2, 32, 32)) * 1j).astype(np.complex64))
    nibabel.save(nibabel.Nifti1Image(rng.random((32, 32, 4)).astype(np.float32), np.eye(4)), tmp_path / "d.nii.gz")
    found = generator.read([tmp_path], (32, 32), 100)
    assert found.shape == (1 + 3 + 2 + 4, 1, 32, 32)
    assert found.abs().square().mean((1, 2, 3)).sqrt().numpy() == pytest.approx(0.5, abs=1e-5)
    assert float(found[4].imag.abs().max()) > 0  # complex samples stay complex
    assert len(generator.read([tmp_path], (32, 32), 4)) == 4
    (tmp_path / "bad").mkdir()
    np.save(tmp_path / "bad" / "e.npy", np.array([[[1.0, np.nan]]], np.complex64))
    with pytest.raises(InputError, match=r"e\.npy: values that are not finite"):
        generator.read([tmp_path / "bad"], (32, 32), 4)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no pictures"):
        generator.read([tmp_path / "empty"], (32, 32), 4)

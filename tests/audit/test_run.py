"""An audit from end to end: resumes, repeats to the byte, finds a generator that copies, leaks no name."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from ambient_mri.audit import levels
from ambient_mri.audit.levels import Level
from ambient_mri.audit.results import SCHEMA
from ambient_mri.cli import main
from tests.audit.small import audited


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


def test_pictures_that_copy_are_detected(spec: Path, tmp_path: Path) -> None:
    document = audited(spec, tmp_path, "images", copied=True)
    assert max(test["p_raw"] for test in document["tests"]) < 0.01
    assert len(document["detections"]) >= 16  # of 32 patients, all copied
    report = (tmp_path / "out" / "report.html").read_text()
    assert document["detections"][0]["pseudonym"] in report


@pytest.mark.slow
@pytest.mark.parametrize("copied", [False, True])
def test_corrupted_scans_suffice(spec: Path, tmp_path: Path, copied: bool) -> None:
    document = audited(spec, tmp_path, "measured", copied=copied)
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

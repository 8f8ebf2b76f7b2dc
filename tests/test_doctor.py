"""The doctor names what is here and what is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ambient_mri import doctor
from ambient_mri.cli import main


def test_doctor_reports_and_exits_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    for word in ("ambient-mri ", "python ", "torch ", "threads", "device ", "optional part dicom", "data brain_demo: "):
        assert word in said


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda package: None if package in ("sigpy", "pydicom") else "1.0")
    found = doctor.examine()
    lines = doctor.lines(found)
    assert found["missing"] == ["sigpy"]
    assert "sigpy MISSING: pip install sigpy" in lines
    assert any("pip install 'ambient-mri[dicom]'" in line for line in lines)
    assert lines[-1] == "cannot run: sigpy missing"


def test_json_holds_the_same_findings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == doctor.examine()
    assert found["required"]["torch"] is not None
    assert "brain_demo" in found["data"]


def test_absent_data_are_said_to_be_absent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AMBIENT_MRI_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert "not here" in doctor.data()["brain_fastmri"]

"""The radiologist's pipelines, from folders to folders."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

import h5py
import numpy as np
import pytest

from ambient_mri.data.prospective import simulate_files
from ambient_mri.data.spec import load_spec

ROOT = Path(__file__).parents[2]


def _pipeline(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "pipelines" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_study_of_raw_data_becomes_images_and_failures_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = _pipeline("reconstruct_study").main
    demo = load_spec("brain_demo")
    demo = demo.model_copy(update={"source": demo.source.model_copy(update={"image_size": 48})})
    study, out = tmp_path / "study", tmp_path / "out"
    simulate_files(demo, coils=2, acceleration=2, out=study / "deep", limit=2)
    shutil.rmtree(study / "deep" / "truth")
    assert run([str(study), "--out", str(out), "--method", "tv"]) == 0
    assert len(list(out.glob("*.nii.gz"))) == 2
    assert (out / "failed.txt").read_text() == ""
    broken = study / "broken.h5"
    shutil.copy(next((study / "deep").glob("*.h5")), broken)
    with h5py.File(broken, "r+") as file:
        file["kspace"][...] = np.nan
    (study / "notes.txt").write_text("no raw data")
    capsys.readouterr()
    assert run([str(study), "--out", str(out), "--method", "tv"]) == 3
    assert capsys.readouterr().out.count("already done") == 2
    assert "broken.h5" in (out / "failed.txt").read_text()
    assert run([str(tmp_path / "empty"), "--out", str(out), "--method", "tv"]) == 2


def test_damaged_dicom_is_restored_and_measured_pixels_are_proved_unchanged(
    real_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("pydicom", reason="the extra 'dicom' is not installed")
    run = _pipeline("restore_damaged_dicom").main
    series, out = real_data / "dicom" / "siemens_xa30_classic", tmp_path / "out"
    kept = np.ones((86, 86), bool)
    kept[30:40, 30:44] = False
    np.save(tmp_path / "mask.npy", kept)
    words = [str(series), "--out", str(out), "--method", "biharmonic", "--mask", str(tmp_path / "mask.npy")]
    assert run(words) == 0
    said = capsys.readouterr().out.splitlines()[-1]
    assert said.endswith("1.9% estimated, measured pixels changed by 0 at most")
    assert run([str(series), "--out", str(out), "--method", "biharmonic", "--missing", "padding"]) == 2

"""The radiologist's pipelines, from folders to folders."""

from __future__ import annotations

import dataclasses
import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

import h5py
import numpy as np
import pytest

from ambient_mri.data.prospective import simulate_files
from ambient_mri.data.readers.kspace import ClosedVolume
from ambient_mri.data.spec import load_spec
from ambient_mri.reconstruction import cases
from ambient_mri.reconstruction.batch import Result
from ambient_mri.reconstruction.cases import find_cases
from ambient_mri.reconstruction.manifest import Manifest

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


def test_scans_of_one_name_are_refused_whatever_formats_they_get(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pipeline = _pipeline("reconstruct_study")
    demo = load_spec("brain_demo")
    demo = demo.model_copy(update={"source": demo.source.model_copy(update={"image_size": 48})})
    simulate_files(demo, coils=2, acceleration=2, out=tmp_path / "made", limit=2)
    one, other = sorted((tmp_path / "made").glob("*.h5"))
    study, out = tmp_path / "study", tmp_path / "out"
    for path in (study / "a.h5", study / "sub" / "a.h5", study / "b.h5"):
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(other if path.parent.name == "sub" else one, path)

    assert pipeline.main([str(study), "--out", str(out), "--method", "zero-filled"]) == 3
    assert [path.name for path in out.glob("*.nii.gz")] == ["b.nii.gz"]
    failed = (out / "failed.txt").read_text()
    assert f"{study / 'a.h5'}: a." in failed
    assert f"{study / 'sub' / 'a.h5'}: a." in failed

    # the same where only one of them says where its slices lie: it would become DICOM in a run of its own
    known = find_cases([study / "sub" / "a.h5"])[0][0].volume
    placed = dataclasses.replace(ClosedVolume.of(known), affine=np.eye(4))
    opened = cases.open_kspace
    monkeypatch.setattr(
        cases, "open_kspace", lambda path, mask: [placed] if path == placed.path else opened(path, mask)
    )
    assert pipeline.main([str(study), "--out", str(out), "--method", "zero-filled"]) == 3
    assert [path.name for path in out.glob("*.nii.gz")] == ["b.nii.gz"]


def test_a_file_of_two_repetitions_has_two_lines_in_the_summary(tmp_path: Path) -> None:
    facts = {"acceleration": 2.0, "noise_std": 1.0, "seconds": 0.1}
    results, manifest = [], Manifest(tmp_path)
    for name in ("r_repetition0", "r_repetition1"):
        manifest.record(name, facts)
        results.append(Result(Path("r.h5"), (tmp_path / f"{name}.png",), 1, 0.1, False, ("noisy",)))
    text = _pipeline("reconstruct_folder").summary(results, tmp_path, "")
    assert [text.count(one) for one in ("| r_repetition0 | 1 | 2.00 |", "- r_repetition1: noisy")] == [1, 1]


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

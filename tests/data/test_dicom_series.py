"""Which DICOM files belong together: nothing is merged by what is not stated, nothing is left out without a word."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ambient_mri.data.readers.dicom import open_volumes
from ambient_mri.data.readers.dicom_files import find_files

pydicom = pytest.importorskip("pydicom", reason="the extra 'dicom' is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")  # vendors' private values are often out of the standard

SENTINEL = "SENTINEL"


@pytest.fixture
def slices(real_data: Path) -> list[Path]:
    return sorted((real_data / "dicom" / "ge_epi").glob("*.dcm"))[:4]


def edited(sources: list[Path], folder: Path, change: Callable[[Any, int], None]) -> Path:
    folder.mkdir()
    for number, source in enumerate(sources):
        dataset = pydicom.dcmread(source)
        change(dataset, number)
        dataset.save_as(folder / f"{number}.dcm")
    return folder


@pytest.mark.parametrize("keyword", ["SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"])
@pytest.mark.parametrize("how", ["absent", "empty"])
def test_a_file_without_a_uid_is_named_and_not_used(slices: list[Path], tmp_path: Path, keyword: str, how: str) -> None:
    def change(dataset: Any, number: int) -> None:
        dataset.PatientID = f"{SENTINEL}{number % 2}"
        if how == "absent":
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, "")

    volumes, problems = open_volumes(find_files(edited(slices, tmp_path / "in", change)))
    assert volumes == []
    assert len(problems) == 4, "each by its name"
    assert all(f"no {keyword}" in str(problem) and SENTINEL not in str(problem) for problem in problems)


def test_two_patients_are_never_one_volume(slices: list[Path], tmp_path: Path) -> None:
    def change(dataset: Any, number: int) -> None:
        dataset.PatientID = f"{SENTINEL}{number // 2}"

    volumes, (problem,) = open_volumes(find_files(edited(slices, tmp_path / "in", change)))
    assert volumes == []
    assert "two patients" in str(problem)
    assert SENTINEL not in str(problem)


def test_other_content_under_the_same_uid_is_no_copy(slices: list[Path], tmp_path: Path) -> None:
    def other_pixels(dataset: Any, number: int) -> None:
        pixels = dataset.pixel_array.copy()
        pixels[number, :9] = 77
        dataset.PixelData = pixels.tobytes()

    def other_series(dataset: Any, _: int) -> None:
        dataset.SeriesInstanceUID, dataset.PatientID = "1.2.9.9", SENTINEL

    for name, change in (("b", other_pixels), ("c", other_series)):
        folder = edited(slices, tmp_path / name, change)
        (volume,), problems = open_volumes([*slices, *find_files(folder)])
        assert (len(volume), len(problems)) == (4, 4)
        assert {problem.where for problem in problems} == {str(path) for path in find_files(folder)}
        assert SENTINEL not in str(problems)


def test_a_copy_may_be_written_or_compressed_differently(slices: list[Path], tmp_path: Path) -> None:
    def compressed(dataset: Any, _: int) -> None:
        dataset.compress(pydicom.uid.RLELossless, generate_instance_uid=False)

    shutil.copy(slices[0], tmp_path / "copy.dcm")
    again = edited(slices, tmp_path / "rle", compressed)
    (volume,), problems = open_volumes([*slices, tmp_path / "copy.dcm", *find_files(again)])
    assert problems == []
    assert set(volume.paths) == set(slices)
    assert np.isfinite(volume.read(0)).all()

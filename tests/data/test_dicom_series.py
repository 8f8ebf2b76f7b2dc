"""Which DICOM files belong together: nothing is merged by what is not stated, nothing is left out without a word."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from ambient_mri.data.readers.dicom import open_volumes
from ambient_mri.data.readers.dicom_files import find_files
from ambient_mri.data.readers.magnitude import Missing
from ambient_mri.reconstruction.batch import reconstruct
from ambient_mri.reconstruction.export.dicom_source import from_dicom

pydicom = pytest.importorskip("pydicom", reason="the extra 'dicom' is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")  # vendors' private values are often out of the standard

SENTINEL = "SENTINEL"


@pytest.fixture
def slices(real_data: Path) -> list[Path]:
    return sorted((real_data / "dicom" / "ge_epi").glob("*.dcm"))[:4]


@pytest.fixture
def study(slices: list[Path], tmp_path: Path) -> Path:
    folder = tmp_path / "study"
    folder.mkdir()
    for path in slices:
        shutil.copy(path, folder)
    return folder


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


@pytest.mark.parametrize(
    ("name", "said"),
    [("empty", "empty"), ("preamble", "damaged"), ("cut.gz", "damaged"), ("text.dcm", "damaged"),
     ("nowhere", "cannot be read")],
)  # fmt: skip
def test_what_may_be_a_damaged_slice_is_named(study: Path, slices: list[Path], name: str, said: str) -> None:
    path = study / name
    if name == "nowhere":
        path.symlink_to(study / "absent")
    else:
        content = {"empty": b"", "preamble": slices[0].read_bytes()[:100], "text.dcm": b"no image" * 99,
                   "cut.gz": gzip.compress(slices[0].read_bytes())[:20]}[name]  # fmt: skip
        path.write_bytes(content)
    for other in ("README.txt", ".DS_Store"):
        (study / other).write_text("not DICOM, and not called so")
    volumes, (problem,) = open_volumes(find_files(study))
    assert [len(volume) for volume in volumes] == [4], "and spoils nothing else"
    assert problem.where == str(path)
    assert said in problem.what


def test_what_lies_beside_images_is_passed_over(
    study: Path, slices: list[Path], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    for number, kind in enumerate(("7", "7.2", "11.1", "88.59", "104.1")):
        dataset = pydicom.dcmread(slices[0], stop_before_pixels=True)
        dataset.SOPClassUID = f"1.2.840.10008.5.1.4.1.1.{kind}"
        dataset.SOPInstanceUID, dataset.PatientName = f"1.2.3.{number}", SENTINEL
        dataset.save_as(study / f"beside{number}.dcm")
    directory = pytest.importorskip("pydicom.fileset").FileSet()
    directory.add(slices[0])
    directory.write(study / "cd")
    (volume,), problems = open_volumes(find_files(study))
    assert (len(volume), problems) == (4, [])
    assert sum("passed over" in record.getMessage() for record in caplog.records) == 6
    assert SENTINEL not in caplog.text
    volumes, problems = open_volumes([study / "beside0.dcm"])
    assert volumes == []
    assert "no MR image" in str(problems[0]), "where there is nothing else, it is a failure"


def test_a_hole_in_a_stack_is_told(slices: list[Path]) -> None:
    whole, holed = open_volumes(slices)[0][0], open_volumes([*slices[:1], *slices[2:]])[0][0]
    assert whole.notes == ()
    assert whole.voxel_mm is not None
    assert holed.affine is None
    assert holed.notes == ("slices are not evenly spaced: images may be missing",)
    assert holed.voxel_mm is not None
    assert holed.voxel_mm[:2] == pytest.approx(whole.voxel_mm[:2])
    source = from_dicom(holed)
    assert source is not None
    assert "SpacingBetweenSlices" not in source.attributes
    assert from_dicom(whole).attributes["SpacingBetweenSlices"] == pytest.approx(whole.voxel_mm[2])  # type: ignore[union-attr]


def test_a_hole_goes_to_the_manifest_and_sizes_to_the_nifti(slices: list[Path], tmp_path: Path) -> None:
    def damage(dataset: Any, number: int) -> None:
        pixels = dataset.pixel_array.copy()
        pixels[20:24, 20:24] = 7777
        dataset.PixelData = pixels.tobytes()

    folder = edited([*slices[:1], *slices[2:]], tmp_path / "in", damage)
    (result,) = reconstruct(None, [folder], tmp_path / "out", method="biharmonic", formats=["nifti"],
                            missing=Missing(value=7777))  # fmt: skip
    assert any("not evenly spaced" in warning for warning in result.warnings)
    rows, columns = (float(size) for size in pydicom.dcmread(slices[0]).PixelSpacing)
    image = nib.load(result.outputs[0])
    assert image.header.get_zooms()[:2] == pytest.approx((columns, rows))
    assert int(image.header["qform_code"]) == 0


@pytest.mark.parametrize("limit", [None, 900, 1100])
def test_padding_may_be_a_range(slices: list[Path], tmp_path: Path, limit: int | None) -> None:
    def padded(dataset: Any, _: int) -> None:
        pixels = np.full_like(dataset.pixel_array, 50)
        pixels[0, :6] = [1000, 900, 950, 1050, 1100, 1101]
        dataset.PixelData = pixels.tobytes()
        kind = "SS" if dataset.PixelRepresentation else "US"
        dataset.add_new("PixelPaddingValue", kind, 1000)
        if limit is not None:
            dataset.add_new("PixelPaddingRangeLimit", kind, limit)

    (volume,), _ = open_volumes(find_files(edited(slices, tmp_path / "in", padded)))
    missing = {None: [0], 900: [0, 1, 2], 1100: [0, 3, 4]}[limit]
    measured = Missing(value="padding").measured(volume)
    assert np.flatnonzero(~measured[0, 0]).tolist() == missing
    assert measured[:, 1:].all()

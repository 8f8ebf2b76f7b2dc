"""Derived DICOM: validators pass it, dcm2niix and the NIfTI export agree on its place, and it says what it is."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest

from ambient_mri.data.readers.dicom import DicomVolume, open_volumes
from ambient_mri.data.readers.dicom_files import find_files
from ambient_mri.errors import InputError
from ambient_mri.reconstruction import outputs
from ambient_mri.reconstruction.export import dicom as export
from ambient_mri.reconstruction.export.dicom import DEVIATION, Derivation, write_mr_series
from ambient_mri.reconstruction.export.dicom_source import Source, from_dicom, from_kspace
from ambient_mri.reconstruction.export.nifti import write_nifti
from ambient_mri.reconstruction.export.parametric_map import write_parametric_map
from ambient_mri.reconstruction.outputs import Product

pydicom = pytest.importorskip("pydicom", reason="the extra 'dicom' is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")  # vendors' private values are often out of the standard

VENDORS = ("canon_enhanced", "ge_epi", "ge_t1_mprage", "philips_enhanced_fieldmap", "siemens_mosaic", "uih_dti",
           "siemens_xa10_enhanced", "siemens_xa30_classic", "siemens_xa30_enhanced", "studyforrest_t1")  # fmt: skip
DERIVATION = Derivation(
    "Missing pixels restored", "one-step", input_sha256="a" * 64, model_sha256="b" * 64, mask_sha256="c" * 64,
    acceleration=2.5, seed=3,
)  # fmt: skip
WHEN = datetime(2026, 1, 2, 3, 4, 5)
FROM_THE_SOURCE = ("Retired Person Name form", "needed to build DICOMDIR", "only permitted to be empty when actually")
"""What dciodvfy says of values that the source states so, or does not state: they are kept as they are."""


@lru_cache
def _volume(folder: Path) -> DicomVolume:
    return open_volumes(find_files(folder))[0][0]


@pytest.fixture(params=VENDORS)
def volume(request: pytest.FixtureRequest, real_data: Path) -> DicomVolume:
    return _volume(real_data / "dicom" / request.param)


@pytest.fixture
def oblique(real_data: Path) -> DicomVolume:
    return _volume(real_data / "dicom" / "siemens_xa10_enhanced")


def _image(volume: DicomVolume) -> np.ndarray:
    """Values that need a scale of their own."""
    return np.stack([volume.read(i) for i in range(len(volume))]).clip(0) * np.float32(0.7)


def _source(volume: DicomVolume) -> Source:
    source = from_dicom(volume)
    assert source is not None
    return source


def _said(program: str, files: Sequence[Path]) -> list[str]:
    """Every line of a validator that speaks of an error or a warning."""
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed (Debian: dicom3tools)")
    runs = [list(files)] if program == "dcentvfy" else [[file] for file in files]
    lines: list[str] = []
    for names in runs:
        done = subprocess.run([program, *map(str, names)], capture_output=True, text=True, errors="replace")
        lines += [line for line in (done.stdout + done.stderr).splitlines() if "Error" in line or "Warning" in line]
    return lines


def test_validators_find_no_error_and_no_warning_of_ours(volume: DicomVolume, tmp_path: Path) -> None:
    write_mr_series(tmp_path / "s", _image(volume), _source(volume), DERIVATION)
    files = sorted((tmp_path / "s").iterdir())
    assert len(files) == len(volume)
    ours = [line for line in _said("dciodvfy", files[:3]) if not any(known in line for known in FROM_THE_SOURCE)]
    assert ours == []
    assert _said("dcentvfy", files) == []


def test_a_source_that_states_everything_gives_nothing_to_complain_of(volume: DicomVolume, tmp_path: Path) -> None:
    source = _source(volume)
    stated = {"PatientName": "Doe^Jane", "ReferringPhysicianName": "Roe^R", "StudyID": "7", "StudyDate": "20200102"}
    body = {} if "BodyPartExamined" in source.attributes else {"BodyPartExamined": "BRAIN"}
    source = replace(source, attributes={**source.attributes, **stated, **body})
    images = write_mr_series(tmp_path / "s", _image(volume), source, DERIVATION, quantity=DEVIATION, number=2)
    files = sorted((tmp_path / "s").iterdir())
    assert _said("dciodvfy", [files[0], files[-1]]) == []
    path = write_parametric_map(tmp_path / "map.dcm", _image(volume), images, DERIVATION)
    assert _said("dciodvfy", [path]) == []
    assert _said("dcentvfy", [*files, path]) == []


def test_dcm2niix_and_the_nifti_export_agree(volume: DicomVolume, dcm2niix: str, tmp_path: Path) -> None:
    image = _image(volume)
    write_mr_series(tmp_path / "s", image, _source(volume), DERIVATION)
    words = ["-b", "n", "-z", "n", "-f", "theirs", "-o", str(tmp_path), str(tmp_path / "s")]
    subprocess.run([dcm2niix, *words], check=True, capture_output=True)
    theirs = nib.as_closest_canonical(nib.load(tmp_path / "theirs.nii"))
    path = write_nifti(tmp_path / "ours.nii.gz", image, affine=volume.affine)
    ours = nib.as_closest_canonical(nib.load(path))
    assert np.abs(theirs.affine - ours.affine).max() < 1e-4  # mm
    step = export.value_of_one_step(image)
    stored = theirs.get_fdata()
    scale = stored.max() / ours.get_fdata().max()  # dcm2niix may apply the real-world values
    assert np.abs(stored / scale - ours.get_fdata()).max() <= step


def test_no_voxel_moves_on_the_way_out_and_back(volume: DicomVolume, tmp_path: Path) -> None:
    image = _image(volume)
    write_mr_series(tmp_path / "s", image, _source(volume), DERIVATION)
    (back,), problems = open_volumes(find_files(tmp_path / "s"))
    assert problems == []
    assert back.affine is not None
    assert volume.affine is not None
    assert np.abs(back.affine - volume.affine).max() < 1e-6
    slope = float(back.header(0).RealWorldValueMappingSequence[0].RealWorldValueSlope)
    stored = np.stack([back.stored(i) for i in range(len(back))])
    assert np.abs(stored * slope - image).max() <= slope / 2 + 1e-6 * image.max()
    slopes = {float(back.header(i).RealWorldValueMappingSequence[0].RealWorldValueSlope) for i in range(len(back))}
    assert len(slopes) == 1, "one scale for the series"


@pytest.mark.parametrize(
    ("values", "step"),
    [([0, 7, 32767], 1), ([0, 0], 1), ([0, 0.25, 0.5], 0.5 / 32767), ([0.5, 300], 300 / 32767), ([0, 65534], 2)],
)
def test_a_step_is_one_only_where_values_are_whole_and_fit(values: list[float], step: float) -> None:
    assert export.value_of_one_step(np.array(values, np.float32)) == pytest.approx(step)


def test_whole_values_are_stored_as_they_are(oblique: DicomVolume, tmp_path: Path) -> None:
    stored = np.stack([oblique.stored(i) for i in range(len(oblique))])
    assert oblique.frames[0].rescale == (1, 0)
    images = write_mr_series(tmp_path / "s", stored.astype(np.float32), _source(oblique), DERIVATION)
    assert all(np.array_equal(one.pixel_array, before) for one, before in zip(images, stored, strict=True))


def test_identity_and_dates_are_kept_and_uids_are_new(real_data: Path, tmp_path: Path) -> None:
    volume = _volume(real_data / "dicom" / "ge_epi")
    before = volume.header(0)
    image = write_mr_series(tmp_path / "s", _image(volume), _source(volume), DERIVATION, when=WHEN)[0]
    for keyword in ("PatientID", "PatientName", "StudyInstanceUID", "AccessionNumber", "FrameOfReferenceUID",
                    "StudyDate", "AcquisitionDate", "RepetitionTime", "EchoTime"):  # fmt: skip
        assert (image.get(keyword) or "") == (before.get(keyword) or ""), keyword
    assert (image.SeriesDate, image.ContentDate, image.ContentTime) == ("20260102", "20260102", "030405")
    assert image.SeriesInstanceUID != before.SeriesInstanceUID
    assert image.ImageType == ["DERIVED", "PRIMARY", "OTHER"]
    assert image.ContentQualification == "RESEARCH"
    assert image.SeriesDescription.startswith("RESEARCH - not for diagnostic use")
    assert "RescaleSlope" not in image
    references = {item.ReferencedSOPInstanceUID for item in image.SourceImageSequence}
    assert references == {before.SOPInstanceUID}, "of the source, never of the series itself"
    equipment = image.ContributingEquipmentSequence[0]
    assert equipment.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
    written = pydicom.dcmread(tmp_path / "s" / "IM0001.dcm")
    private = [written.private_block(0x99, "AMBIENT-MRI")[element].value for element in range(3, 8)]
    assert [bytes(value).decode().strip() for value in private] == ["b" * 64, "c" * 64, "a" * 64, "R 2.5", "seed 3"]


def test_what_pixels_carry_is_told_of_the_result(real_data: Path, tmp_path: Path) -> None:
    """Burned-in names and losses of compression are in the measured pixels of the result, too."""

    def made(**changes: Sequence[str]) -> Source:
        for number, path in enumerate(sorted((real_data / "dicom" / "ge_epi").glob("*.dcm"))[:3]):
            dataset = pydicom.dcmread(path)
            for keyword in ("BurnedInAnnotation", "LossyImageCompression"):
                if keyword in dataset:
                    delattr(dataset, keyword)
            for keyword, values in changes.items():
                setattr(dataset, keyword, values[number])
            dataset.save_as(tmp_path / f"{number}.dcm")
        return _source(open_volumes(find_files(tmp_path))[0][0])

    def written(source: Source) -> pydicom.Dataset:
        return write_mr_series(tmp_path.parent / "written", np.ones((3, 64, 64), np.float32), source, DERIVATION)[0]

    silent = written(made())
    assert "BurnedInAnnotation" not in silent, "not known is not NO"
    assert "LossyImageCompression" not in silent
    assert silent.PhotometricInterpretation == "MONOCHROME2"
    clean = written(made(BurnedInAnnotation=["NO"] * 3, LossyImageCompression=["00"] * 3))
    assert (clean.BurnedInAnnotation, clean.LossyImageCompression) == ("NO", "00")
    lossy = written(made(
        BurnedInAnnotation=["NO", "YES", "NO"], LossyImageCompression=["00", "00", "01"],
        LossyImageCompressionRatio=["", "", "10"], LossyImageCompressionMethod=["", "", "ISO_10918_1"],
    ))  # fmt: skip
    assert (lossy.BurnedInAnnotation, lossy.LossyImageCompression) == ("YES", "01")
    assert (lossy.LossyImageCompressionRatio, lossy.LossyImageCompressionMethod) == (10, "ISO_10918_1")
    assert written(made(PhotometricInterpretation=["MONOCHROME1"] * 3)).PhotometricInterpretation == "MONOCHROME1"
    with pytest.raises(InputError, match="0 is black in some"):
        made(PhotometricInterpretation=["MONOCHROME1", "MONOCHROME2", "MONOCHROME1"])
    kspace = from_kspace({}, np.eye(4), 3, thickness_mm=4)
    assert kspace is not None
    image = written(kspace)
    assert (image.BurnedInAnnotation, image.LossyImageCompression) == ("NO", "00")


def test_identity_that_breaks_the_rules_is_kept(real_data: Path, tmp_path: Path) -> None:
    """Another UID or number would be another study: the archive could not file the result with its source."""
    stated = {
        "StudyInstanceUID": "1.2.840.0001.05.7", "FrameOfReferenceUID": "1.2.03.4", "PatientID": "P" * 70,
        "AccessionNumber": "ACC-2024-000123456789", "StudyID": "S" * 20, "StudyDate": "2024.01.31",
        "PatientName": "Müller^" + "J" * 70, "SOPInstanceUID": "1.2.840.0001.9",
    }  # fmt: skip
    with pydicom.config.disable_value_validation():
        dataset = pydicom.dcmread(sorted((real_data / "dicom" / "ge_epi").glob("*.dcm"))[0])
        dataset.SpecificCharacterSet = "ISO_IR 192"
        for keyword, value in stated.items():
            setattr(dataset, keyword, value)
        dataset.IssuerOfPatientID = ["A", "B"]  # a backslash in one value
        dataset.save_as(tmp_path / "one.dcm")
    (volume,), problems = open_volumes([tmp_path / "one.dcm"])
    assert problems == []
    write_mr_series(tmp_path / "s", _image(volume), _source(volume), DERIVATION)
    with pydicom.config.disable_value_validation():
        written = pydicom.dcmread(tmp_path / "s" / "IM0001.dcm")
        written.decode()
    instance = stated.pop("SOPInstanceUID")
    assert {keyword: str(written[keyword].value) for keyword in stated} == stated
    assert list(written.IssuerOfPatientID) == ["A", "B"]
    assert written.SourceImageSequence[0].ReferencedSOPInstanceUID == instance


@pytest.mark.filterwarnings("always")
def test_nothing_is_quoted_while_writing(
    tmp_path: Path, recwarn: pytest.WarningsRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "1.2.0042"
    identity = {"PatientID": secret * 12, "PatientName": secret * 12, "StudyInstanceUID": secret,
                "StudyDate": "2024.01.31",
                "AccessionNumber": secret * 4, "FrameOfReferenceUID": secret, "StudyID": secret * 4}  # fmt: skip
    source = from_kspace(identity, np.eye(4), 2, thickness_mm=1)
    assert source is not None
    source = replace(source, references=(("1.2.840.10008.5.1.4.1.1.4", secret, 0),) * 2)
    image = np.ones((2, 8, 8), np.float32)
    images = write_mr_series(tmp_path / "s", image, source, DERIVATION, quantity=DEVIATION)
    write_parametric_map(tmp_path / "map.dcm", image, images, DERIVATION)
    assert secret not in "".join(str(one.message) for one in recwarn.list)
    assert secret not in caplog.text
    with pydicom.config.disable_value_validation():
        written = pydicom.dcmread(tmp_path / "map.dcm")
    assert (written.StudyInstanceUID, written.AccessionNumber) == (secret, secret * 4)


def test_uids_follow_from_what_went_in() -> None:
    uid = DERIVATION.uid("SIGNAL", 1)
    assert uid == replace(DERIVATION).uid("SIGNAL", 1)
    others = [replace(DERIVATION, **change).uid("SIGNAL", 1) for change in (
        {"input_sha256": "d" * 64}, {"model_sha256": "d" * 64}, {"mask_sha256": "d" * 64}, {"seed": 4},
        {"method": "tv"}, {"strength": 0.5}, {"settings_sha256": "e" * 64},
    )]  # fmt: skip
    assert len({uid, DERIVATION.uid("SIGNAL", 2), *others}) == 9
    assert len(uid) <= 64
    assert pydicom.uid.UID(uid).is_valid


def test_a_second_run_writes_the_same_bytes(oblique: DicomVolume, tmp_path: Path) -> None:
    for name in ("a", "b", "a"):
        write_mr_series(tmp_path / name, _image(oblique), _source(oblique), DERIVATION, when=WHEN)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_frames_of_enhanced_files_are_referred_to_by_number(oblique: DicomVolume) -> None:
    source = _source(oblique)
    assert [frame for _, _, frame in source.references] == [frame.number + 1 for frame in oblique.frames]
    assert source.attributes["EchoTime"] == 30
    assert source.attributes["SpacingBetweenSlices"] == pytest.approx(2.4)


def test_parametric_maps_hold_the_values(oblique: DicomVolume, tmp_path: Path) -> None:
    deviation = _image(oblique) / 7
    images = write_mr_series(tmp_path / "s", deviation, _source(oblique), DERIVATION, quantity=DEVIATION, number=2)
    document = pydicom.dcmread(write_parametric_map(tmp_path / "map.dcm", deviation, images, DERIVATION))
    values = np.frombuffer(document.FloatPixelData, "<f4").reshape(deviation.shape)
    order = [
        float(g.PlanePositionSequence[0].ImagePositionPatient[2]) for g in document.PerFrameFunctionalGroupsSequence
    ]
    expected = deviation[
        np.argsort([plane.position[2] for plane in _source(oblique).planes])[np.argsort(np.argsort(order))]
    ]
    assert np.array_equal(values, expected)
    assert document.StudyInstanceUID == images[0].StudyInstanceUID
    assert document.SeriesInstanceUID != images[0].SeriesInstanceUID
    with pytest.raises(InputError, match="images"):
        write_parametric_map(tmp_path / "map.dcm", deviation[:2], images, DERIVATION)


def test_kspace_with_directions_becomes_a_series_and_without_it_does_not(tmp_path: Path) -> None:
    affine = np.diag([2.0, 1.5, 5.0, 1.0])
    identity = {"PatientID": "7", "PatientName": "Doe^Jane", "StudyDate": "2024-01-31", "StudyTime": "08:15:00",
                "StudyInstanceUID": "1.2.3", "EchoTime": "soon", "MagneticFieldStrength": "3.0"}  # fmt: skip
    source = from_kspace(identity, affine, 3, thickness_mm=4)
    assert source is not None
    image = np.random.default_rng(0).random((3, 12, 10), dtype=np.float32)
    images = write_mr_series(tmp_path / "s", image, source, DERIVATION)
    assert (images[0].PatientID, images[0].StudyDate, images[0].StudyTime) == ("7", "20240131", "081500")
    assert images[0].EchoTime is None, "what breaks the rules of its type is left out"
    assert "SourceImageSequence" not in images[0]
    assert [float(one.ImagePositionPatient[2]) for one in images] == [0, 5, 10]
    said = _said("dciodvfy", [tmp_path / "s" / "IM0001.dcm"])
    assert [line for line in said if not any(known in line for known in FROM_THE_SOURCE)] == []
    assert from_kspace(identity, None, 3, thickness_mm=4) is None
    nobody = write_mr_series(tmp_path / "n", image, Source({}, source.planes), DERIVATION)[0]
    assert nobody.PatientID == "unknown-aaaaaaaaaaaa"
    assert pydicom.uid.UID(nobody.StudyInstanceUID).is_valid


def test_images_without_a_place_have_no_source(real_data: Path) -> None:
    (volume,), _ = open_volumes([real_data / "dicom" / "pydicom_emri_small" / "emri_small.dcm"])
    assert from_dicom(volume) is None


def test_a_series_appears_whole_or_not_at_all(
    oblique: DicomVolume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, source = _image(oblique), _source(oblique)
    with pytest.raises(InputError, match="finite"):
        write_mr_series(tmp_path / "s", np.full_like(image, np.nan), source, DERIVATION)
    with pytest.raises(InputError, match="planes"):
        write_mr_series(tmp_path / "s", image[:2], source, DERIVATION)
    calls = []

    def full(*_: object, **__: object) -> None:
        calls.append(1)
        if len(calls) > 2:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(pydicom.dataset.FileDataset, "save_as", full)
    with pytest.raises(OSError, match="No space"):
        write_mr_series(tmp_path / "s", image, source, DERIVATION)
    assert list(tmp_path.iterdir()) == []


def test_uncertainty_is_written_in_every_format(oblique: DicomVolume, tmp_path: Path) -> None:
    image = _image(oblique)
    product = Product(image, oblique.affine, (3.375, 3.375, 2.4), _source(oblique), None, image / 9)
    formats = outputs.checked(["hdf5", "dicom", "nifti"])
    outputs.write(tmp_path, "scan", product, formats, {"method": "mmps"}, DERIVATION)
    names = outputs.names("scan", formats, restored=False, sampled=True)
    assert {path.name for path in tmp_path.iterdir()} == set(names)
    volumes, _ = open_volumes(find_files(tmp_path / "scan_dicom_deviation"))
    assert volumes[0].header(0).ImageType[-1] == "STDDEV"
    deviation = nib.load(tmp_path / "scan_deviation.nii.gz")
    assert np.allclose(np.asarray(deviation.dataobj).transpose(2, 1, 0), image / 9)
    with h5py.File(tmp_path / "scan.h5") as file:
        assert np.allclose(np.asarray(file["standard_deviation"]), image / 9)
    with pytest.raises(InputError, match="'tiff' is no format"):
        outputs.checked(["tiff"])


def test_a_damaged_attribute_costs_only_itself(real_data: Path, tmp_path: Path) -> None:
    dataset = pydicom.dcmread(sorted((real_data / "dicom" / "ge_epi").glob("*.dcm"))[0])
    tag = pydicom.tag.Tag("PatientWeight")
    dataset._dict[tag] = pydicom.dataelem.RawDataElement(tag, "DS", 6, b"heavy ", 0, False, True)
    dataset.save_as(tmp_path / "one.dcm")
    (volume,), problems = open_volumes([tmp_path / "one.dcm"])
    assert problems == []
    source = _source(volume)
    assert "PatientWeight" not in source.attributes
    assert source.attributes["PatientID"] == "DEV"

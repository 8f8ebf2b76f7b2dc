"""Sentinel names in every attribute that can identify a patient: none of them leaves, but inside derived DICOM."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from ambient_mri.cli import main
from ambient_mri.data.prospective import simulate_files
from ambient_mri.data.spec import load_spec

pydicom = pytest.importorskip("pydicom", reason="the extra 'dicom' is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")

SENTINEL = "Zebrafish"
DATE, UID = "19121213", "1.2.3.424242424242"
TEXT = {
    "PN": ("PatientName", "ReferringPhysicianName", "PerformingPhysicianName", "OperatorsName", "PhysiciansOfRecord",
           "NameOfPhysiciansReadingStudy", "OtherPatientNames", "PatientBirthName", "PatientMotherBirthName",
           "RequestingPhysician"),
    "LO": ("PatientID", "OtherPatientIDs", "PatientAddress", "InstitutionName", "InstitutionalDepartmentName",
           "StudyDescription", "SeriesDescription", "ProtocolName", "IssuerOfPatientID", "MilitaryRank",
           "CountryOfResidence", "DeviceSerialNumber", "PatientInsurancePlanCodeSequence", "MedicalAlerts",
           "RequestedProcedureDescription", "ManufacturerModelName", "PatientReligiousPreference"),
    "SH": ("AccessionNumber", "StudyID", "StationName", "PatientTelephoneNumbers", "EthnicGroup", "Occupation"),
    "LT": ("ImageComments", "PatientComments", "AdditionalPatientHistory"),
    "ST": ("InstitutionAddress", "DerivationDescription", "AcquisitionComments"),
}  # fmt: skip
DATES = ("PatientBirthDate", "StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate")
UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID")
XML = (
    "<subjectInformation><patientName>*^Name</patientName><patientID>*-ID</patientID><patientBirthdate>1912-12-13"
    "</patientBirthdate></subjectInformation><studyInformation><studyDate>1912-12-13</studyDate><studyID>*</studyID>"
    "<accessionNumber>*</accessionNumber><referringPhysicianName>*</referringPhysicianName><studyDescription>*"
    "</studyDescription><studyInstanceUID>1.2.3.424242424242</studyInstanceUID></studyInformation>"
    "<measurementInformation><patientPosition>HFS</patientPosition><protocolName>*</protocolName><seriesDescription>*"
    "</seriesDescription></measurementInformation>"
).replace("*", SENTINEL)
Capture = pytest.CaptureFixture[str]


def _plant(source: Path, path: Path, number: int, spoil: Callable[[object], None] | None = None) -> None:
    dataset = pydicom.dcmread(source)
    for vr, keywords in TEXT.items():
        for keyword in keywords:
            if not keyword.endswith("Sequence"):
                setattr(dataset, keyword, f"{SENTINEL}^{keyword}"[: 16 if vr == "SH" else 60])
    for keyword in DATES:
        setattr(dataset, keyword, DATE)
    for keyword in UIDS:
        setattr(dataset, keyword, f"{UID}.{UIDS.index(keyword)}")
    dataset.SOPInstanceUID = f"{UID}.9.{number}"
    dataset.private_block(0x0099, SENTINEL, create=True).add_new(1, "LO", SENTINEL)
    pixels = dataset.pixel_array.copy()
    pixels[20:30, 20:30] = -999
    dataset.set_pixel_data(pixels, "MONOCHROME2", 16)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    if spoil is not None:
        spoil(dataset)
    dataset.save_as(path)


def _no_number(dataset: object) -> None:
    dataset._dict[pydicom.tag.Tag("EchoTime")] = pydicom.dataelem.RawDataElement(
        pydicom.tag.Tag("EchoTime"), "DS", len(SENTINEL) + 1, SENTINEL.encode() + b" ", 0, False, True
    )  # type: ignore[attr-defined]


def _leaks(folder: Path) -> list[str]:
    """Files outside derived DICOM whose name or content holds a sentinel."""
    found = []
    for path in folder.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        if path.name.endswith(".gz"):
            content = gzip.decompress(content)
        name = str(path.relative_to(folder))
        inside_dicom = any(part.endswith("_dicom") for part in path.relative_to(folder).parts)
        for sign in (SENTINEL, DATE, UID):
            if sign in name or (sign.encode() in content and not (inside_dicom and path.suffix == ".dcm")):
                found.append(f"{name}: {sign}")
    return found


def _said(capsys: Capture, caplog: pytest.LogCaptureFixture) -> str:
    out, err = capsys.readouterr()
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("ambient_mri")]
    return "\n".join([out, err, *ours])


def test_of_dicom(real_data: Path, tmp_path: Path, capsys: Capture, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    sources = sorted((real_data / "dicom" / "ge_epi").glob("*.dcm"))
    job, out = tmp_path / "job", tmp_path / "out"
    (job / "bad").mkdir(parents=True)
    for number, source in enumerate(sources):
        _plant(source, job / f"{number}.dcm", number)
    _plant(sources[0], job / "bad" / "number.dcm", 90, _no_number)
    _plant(sources[0], job / "bad" / "cut.dcm", 91)
    cut = (job / "bad" / "cut.dcm").read_bytes()
    (job / "bad" / "cut.dcm").write_bytes(cut[: len(cut) // 8])
    words = ["--method", "biharmonic", "--missing", "-999", "--format", "dicom,nifti,hdf5"]
    assert main(["reconstruct", "none", str(job), "--out", str(out), *words]) == 3
    said = _said(capsys, caplog)
    assert "number.dcm" in said
    assert SENTINEL not in said
    assert DATE not in said
    assert UID not in said
    assert _leaks(out) == []
    derived = pydicom.dcmread(next(out.rglob("IM0001.dcm")))
    assert str(derived.PatientName).startswith(SENTINEL), "derived DICOM belongs to the patient"
    assert SENTINEL not in derived.SeriesDescription
    assert SENTINEL not in derived.DerivationDescription


@pytest.mark.parametrize("damaged", [False, True])
def test_of_kspace(tmp_path: Path, capsys: Capture, caplog: pytest.LogCaptureFixture, damaged: bool) -> None:
    caplog.set_level("INFO")
    spec = load_spec("brain_demo")
    spec = spec.model_copy(update={"source": spec.source.model_copy(update={"image_size": 32})})
    (path,) = simulate_files(spec, coils=2, acceleration=2, out=tmp_path / "scans", limit=1).glob("*.h5")
    with h5py.File(path, "r+") as file:
        header = file["ismrmrd_header"][()].decode()
        del file["ismrmrd_header"]
        planted = header.replace("<acquisitionSystemInformation>", XML + "<acquisitionSystemInformation>")
        assert SENTINEL in planted
        if damaged:
            planted = planted.replace("<y>32</y>", f"<y>{SENTINEL}</y>")
        file["ismrmrd_header"] = planted
        file.attrs["patient_id"] = SENTINEL
        file.attrs["patient_name"] = SENTINEL
    code = main(["reconstruct", "none", str(path), "--out", str(tmp_path / "out"), "--method", "tv"])
    assert code == (2 if damaged else 0)
    said = _said(capsys, caplog)
    assert SENTINEL not in said
    assert DATE not in said.replace("-", "")
    assert _leaks(tmp_path / "out") == []


def test_of_mrd(tmp_path: Path, capsys: Capture) -> None:
    ismrmrd = pytest.importorskip("ismrmrd", reason="the extra 'mrd' is not installed")
    path, rng = tmp_path / "scan.h5", np.random.default_rng(0)
    file = ismrmrd.Dataset(str(path), "dataset", create_if_needed=True)
    space = (
        "<matrixSize><x>24</x><y>24</y><z>1</z></matrixSize><fieldOfView_mm><x>48</x><y>48</y><z>4</z></fieldOfView_mm>"
    )
    file.write_xml_header(
        f'<?xml version="1.0"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">{XML}<encoding><encodedSpace>{space}'
        f"</encodedSpace><reconSpace>{space}</reconSpace><trajectory>cartesian</trajectory></encoding></ismrmrdHeader>".encode()
    )
    for line in (*range(8, 17), 2, 20):
        samples = (rng.standard_normal((2, 24)) + 1j * rng.standard_normal((2, 24))).astype(np.complex64)
        row = ismrmrd.Acquisition.from_array(samples)
        row.center_sample, row.idx.kspace_encode_step_1 = 12, line
        row.read_dir[:], row.phase_dir[:], row.slice_dir[:] = (0, 1, 0), (1, 0, 0), (0, 0, 1)
        file.append_acquisition(row)
    file.close()
    words = ["--method", "tv", "--format", "dicom,nifti,hdf5"]
    assert main(["reconstruct", "none", str(path), "--out", str(tmp_path / "out"), *words]) == 0
    assert SENTINEL not in "".join(capsys.readouterr())
    assert _leaks(tmp_path / "out") == []
    derived = pydicom.dcmread(next((tmp_path / "out").rglob("IM0001.dcm")))
    assert derived.PatientName == f"{SENTINEL}^Name"
    assert derived.StudyInstanceUID == UID
    assert derived.StudyDate == DATE
    assert [float(v) for v in derived.ImagePositionPatient] == [-24, -24, 0]

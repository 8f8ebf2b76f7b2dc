"""Against Orthanc and dcmtk: pushed, pulled by every way, previewed, anonymized; validators pass what we write."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image

from ambient_mri.cli import main
from ambient_mri.data.readers.dicom import open_volumes
from ambient_mri.data.readers.dicom_files import find_files
from ambient_mri.errors import InputError, PartlyDone
from ambient_mri.pacs import dicomweb
from ambient_mri.pacs.address import open_archive
from ambient_mri.pacs.query import Query
from ambient_mri.pacs.transfer import Pushed, pull, push
from ambient_mri.reconstruction import outputs
from ambient_mri.reconstruction.export.dicom import Derivation
from ambient_mri.reconstruction.export.dicom_source import from_dicom
from ambient_mri.reconstruction.outputs import Product
from tests.pacs import servers
from tests.pacs.servers import Orthanc, Write

pytestmark = pytest.mark.filterwarnings("ignore")  # vendors' private values are often out of the standard
EVERYTHING = Query(study_date="19000101-")
WAYS = ("C-GET", "C-MOVE", "DICOMweb")


def _open(orthanc: Orthanc, way: str) -> dicomweb.WebArchive:
    if way == "DICOMweb":
        return open_archive(orthanc.web, timeout=20)
    listen = f"127.0.0.1:{orthanc.listen}" if way == "C-MOVE" else None
    return open_archive(orthanc.dicom, timeout=20, listen=listen)


@pytest.fixture(scope="module")
def result(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """What a batch writes of an oblique series, with its uncertainty; and the source."""
    source_folder = real_data / "dicom" / "siemens_xa10_enhanced"
    volume = open_volumes(find_files(source_folder))[0][0]
    source = from_dicom(volume)
    assert source is not None
    stated = {"PatientName": "Doe^Jane", "ReferringPhysicianName": "Roe^R", "StudyID": "7", "StudyDate": "20200102",
              "BodyPartExamined": "BRAIN"}  # fmt: skip
    source = replace(source, attributes={**source.attributes, **stated})
    image = np.stack([volume.read(i) for i in range(len(volume))]).clip(0)
    product = Product(image, volume.affine, None, source, None, image / np.float32(9))
    derivation = Derivation("Reconstructed", "mmps", input_sha256="a" * 64, model_sha256="b" * 64)
    out = tmp_path_factory.mktemp("result")
    outputs.write(out, "scan", product, ("dicom",), {}, derivation)
    return out, source_folder


@pytest.mark.parametrize("way", WAYS)
def test_series_go_in_and_come_out_unchanged(
    orthanc: Orthanc, way: str, result: tuple[Path, Path], tmp_path: Path
) -> None:
    out, source = result
    archive = _open(orthanc, way)
    archive.echo()
    files = find_files(out)
    kinds = {pydicom.dcmread(path, stop_before_pixels=True).SOPClassUID.name for path in files}
    assert kinds == {"MR Image Storage", "Parametric Map Storage"}
    assert push(archive, [out]) == Pushed(len(files), 0)
    assert push(archive, [out]) == Pushed(0, len(files))
    assert len(orthanc.ask("/instances")) == len(files)
    count = len(find_files(source))
    assert push(archive, [source]).new == count
    pulled = pull(archive, EVERYTHING, tmp_path / "in")
    assert (pulled.new, pulled.before, pulled.own) == (count, 0, 2), "the source; what we made is no input"
    before, _ = open_volumes(find_files(source))
    after, problems = open_volumes(find_files(tmp_path / "in"))
    assert problems == []
    assert [volume.name for volume in after] == [volume.name for volume in before]
    assert after[0].name.startswith(pulled.series[0].name)
    assert all(np.array_equal(a.stored(0), b.stored(0)) for a, b in zip(after, before, strict=True))
    assert pull(archive, EVERYTHING, tmp_path / "in").before == count


def test_compressed_series_stay_compressed(orthanc: Orthanc, real_data: Path, tmp_path: Path) -> None:
    source = real_data / "dicom" / "pydicom_emri_small"
    files = {pydicom.dcmread(path).file_meta.TransferSyntaxUID: path for path in find_files(source)}
    assert len(files) >= 3
    for number, (syntax, path) in enumerate(files.items()):
        orthanc.clear()
        archive = _open(orthanc, ("DICOMweb", "C-GET")[number % 2])
        assert push(archive, [path]).new == 1
        (folder,) = pull(archive, EVERYTHING, tmp_path / str(number)).series
        (back,) = folder.iterdir()
        assert pydicom.dcmread(back).file_meta.TransferSyntaxUID == syntax
        assert np.array_equal(pydicom.dcmread(back).pixel_array, pydicom.dcmread(path).pixel_array)


def test_series_are_previewed_and_anonymized(orthanc: Orthanc, result: tuple[Path, Path]) -> None:
    out, _ = result
    push(_open(orthanc, "C-GET"), [out])
    seen = 0
    for series in orthanc.ask("/series"):
        about = orthanc.ask(f"/series/{series}")
        if "map" in about["MainDicomTags"]["SeriesDescription"] or len(about["Instances"]) == 1:
            continue  # of float maps Orthanc has no preview
        picture = Image.open(io.BytesIO(orthanc.ask(f"/instances/{about['Instances'][0]}/preview")))
        header = pydicom.dcmread(io.BytesIO(orthanc.ask(f"/instances/{about['Instances'][0]}/file")))
        assert picture.size == (header.Columns, header.Rows)
        assert np.corrcoef(np.asarray(picture).ravel(), header.pixel_array.ravel())[0, 1] > 0.9
        seen += 1
    assert seen == 2, "the images and their standard deviation"
    (study,) = orthanc.ask("/studies")
    body = json.dumps({"Force": True, "Synchronous": True}).encode()
    anonymous = orthanc.ask(f"/studies/{study}/anonymize", body)["ID"]
    archive = zipfile.ZipFile(io.BytesIO(orthanc.ask(f"/studies/{anonymous}/archive")))
    images = [pydicom.dcmread(io.BytesIO(archive.read(name))) for name in archive.namelist()]
    assert len(images) == len(find_files(out))
    assert all(image.PatientName != "Doe^Jane" and not image.get("StudyDate") for image in images)
    assert all(image.ContentQualification == "RESEARCH" for image in images)


def test_validators_and_the_tools_of_dcmtk_pass_what_is_written(
    orthanc: Orthanc, result: tuple[Path, Path], tmp_path: Path
) -> None:
    out, _ = result
    files = [str(path) for path in find_files(out)]
    for words in ([[servers.program("dciodvfy", "dicom3tools"), path] for path in (files[0], files[-2], files[-1])]
                  + [[servers.program("dcentvfy", "dicom3tools"), *files]]):  # fmt: skip
        done = subprocess.run(words, capture_output=True, text=True, errors="replace")
        said = [line for line in (done.stdout + done.stderr).splitlines() if "Error" in line or "Warning" in line]
        assert said == []
    host, port = orthanc.dicom.rpartition("@")[2].split(":")
    series = [path for path in files if "map" not in path]
    words = [servers.program("storescu", "dcmtk"), "-aet", "STORESCU", "-aec", "ORTHANC", host, port, *series]
    assert subprocess.run(words, capture_output=True).returncode == 0
    assert len(orthanc.ask("/instances")) == len(series)


@pytest.fixture
def storescp(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """dcmtk's receiver: takes MR, answers no queries."""
    import socket

    port, received = servers.free_port(), tmp_path / "received"
    received.mkdir()
    words = [servers.program("storescp", "dcmtk"), "-aet", "SCP", "-od", str(received), str(port)]
    ready = lambda: socket.create_connection(("127.0.0.1", port), 1).close()  # noqa: E731
    with servers.running(words, ready, tmp_path / "storescp.log"):
        yield f"dicom://SCP@127.0.0.1:{port}", received


def test_a_plain_receiver_gets_everything_it_takes(
    storescp: tuple[str, Path], result: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    address, received = storescp
    out, _ = result
    assert main(["pacs", "push", address, str(out / "scan_dicom")]) == 0
    said = capsys.readouterr()
    assert "what the archive has is not known" in said.err
    assert said.out.endswith(f"{len(list(received.iterdir()))} instances stored, 0 were there\n")
    assert len(list(received.iterdir())) == len(list((out / "scan_dicom").iterdir()))


def test_web_archives_refuse_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_series: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dicomweb, "PAUSE_S", 0.01)
    for name in (dicomweb.USER, dicomweb.PASSWORD, dicomweb.TOKEN):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    paths = write_series()
    with servers.orthanc(tmp_path, users={"night": "swordfish"}) as guarded:
        with pytest.raises(InputError, match=r"other credentials \(HTTP 401\). Set AMBIENT_MRI_PACS_USER"):
            open_archive(guarded.web, timeout=5).echo()
        monkeypatch.setenv(dicomweb.USER, "night")
        monkeypatch.setenv(dicomweb.PASSWORD, "wrong")
        assert main(["pacs", "push", guarded.web, *map(str, paths)]) == 2
        monkeypatch.setenv(dicomweb.PASSWORD, "swordfish")
        assert main(["pacs", "push", guarded.web, *map(str, paths)]) == 0
        monkeypatch.delenv(dicomweb.USER)
        (tmp_path / "netrc").write_text("machine 127.0.0.1 login night password swordfish\n")
        (tmp_path / "netrc").chmod(0o600)
        assert main(["pacs", "echo", guarded.web]) == 0
        with pytest.raises(InputError, match=r"HTTP 404.*dicom-web"):
            open_archive(f"{guarded.http}/web", timeout=5).echo()
        with pytest.raises(InputError, match=r"not understood \(HTTP 400\)"):
            open_archive(guarded.http, timeout=5).echo()  # its own REST interface
        address = guarded.web
    with pytest.raises(InputError, match="no connection"):
        open_archive(address, timeout=2).echo()
    said = capsys.readouterr()
    assert said.err.splitlines()[0].startswith(f"ambient-mri: error: {address}: the archive wants other credentials")
    assert "swordfish" not in said.out + said.err


def test_an_instance_that_web_archives_do_not_take_is_named(
    orthanc: Orthanc, write_series: Write, tmp_path: Path
) -> None:
    paths = write_series()
    damaged = pydicom.dcmread(paths[1])
    del damaged.PatientID, damaged.SOPClassUID
    shutil.copy(paths[1], tmp_path / "whole.dcm")
    paths[1].write_bytes(paths[1].read_bytes()[:600])
    with pytest.raises(PartlyDone, match=r"1 of 3 instances failed, first .*IM0002\.dcm"):
        push(_open(orthanc, "DICOMweb"), paths)
    shutil.copy(tmp_path / "whole.dcm", paths[1])
    assert push(_open(orthanc, "DICOMweb"), paths) == Pushed(1, 2)

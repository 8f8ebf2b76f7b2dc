"""An archive that refuses, breaks off, answers with every status: nothing is lost or doubled, and what is said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest

from ambient_mri.errors import InputError, PartlyDone
from ambient_mri.files import write as write_file
from ambient_mri.pacs import dimse, transfer
from ambient_mri.pacs.address import open_archive
from ambient_mri.pacs.query import Query
from ambient_mri.pacs.transfer import pull, push
from tests.pacs.servers import Server, Write, silent_port

Start = Callable[..., Server]
JANUARY = Query(study_date="20260101-20260131")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dimse, "PAUSE_S", 0.01)


def _filled(archive: Start, write_series: Write, **options: int) -> Server:
    server = archive()
    for path in write_series(**options):
        dataset = pydicom.dcmread(path)
        server.held[dataset.SOPInstanceUID] = dataset
    return server


def _open(server: Server, **options: float) -> transfer.Archive:
    return open_archive(server.address, **{"timeout": 5, **options})


def test_what_is_pushed_comes_back_and_is_sent_once(archive: Start, write_series: Write, tmp_path: Path) -> None:
    server, paths = archive(), write_series()
    assert push(_open(server), paths) == transfer.Pushed(new=3, before=0)
    assert push(_open(server), [paths[0].parent]) == transfer.Pushed(new=0, before=3)
    assert sum(request.startswith("store") for request in server.requests) == 3
    pulled = pull(_open(server), JANUARY, tmp_path / "in")
    assert (pulled.new, pulled.before, len(pulled.series)) == (3, 0, 1)
    back = {pydicom.dcmread(path).SOPInstanceUID: pydicom.dcmread(path) for path in pulled.series[0].iterdir()}
    for path in paths:
        sent = pydicom.dcmread(path)
        assert np.array_equal(back[sent.SOPInstanceUID].pixel_array, sent.pixel_array)
        assert back[sent.SOPInstanceUID].PatientName == "Doe^Jane"
    count = len(server.requests)
    again = pull(_open(server), JANUARY, tmp_path / "in")
    assert (again.new, again.before) == (0, 3)
    assert not any(request.startswith("get") for request in server.requests[count:])


def test_an_association_that_breaks_off_is_opened_again(archive: Start, write_series: Write, tmp_path: Path) -> None:
    server = archive()
    server.breaks = [3]  # one query, one instance, and then
    assert push(_open(server), write_series(count=5)).new == 5
    stored = [request for request in server.requests if request.startswith("store")]
    assert len(set(stored)) == 5
    assert len(stored) <= 6, "only the instance that was on its way is sent again"
    server = _filled(archive, write_series, count=5)
    server.breaks = [6]  # three queries, two instances, and then
    assert pull(_open(server), JANUARY, tmp_path / "in").new == 5
    gets = [request for request in server.requests if request.startswith("get")]
    assert len(set(gets)) == 5
    assert len(gets) < 10, "what has arrived is not asked for again"


@pytest.mark.parametrize(
    ("status", "said"),
    [(0xA900, "does not fit its SOP class"), (0xC123, "could not be processed"), (0x0124, "not authorized"),
     (0x0111, "exists already, with other content")],
)  # fmt: skip
def test_an_instance_that_is_not_stored_is_named(archive: Start, write_series: Write, status: int, said: str) -> None:
    server, paths = archive(), write_series()
    server.answers = {"1.2.3.4.1": [status] * 9}
    with pytest.raises(PartlyDone, match=rf"1 of 3 instances failed.*IM0002\.dcm: .*{said} \(status {status:04X}\)"):
        push(_open(server), paths)
    assert sorted(server.held) == ["1.2.3.4.0", "1.2.3.4.2"]


def test_busy_archives_are_asked_again_and_remarks_are_no_failure(archive: Start, write_series: Write) -> None:
    server, paths = archive(), write_series()
    server.answers = {"1.2.3.4.0": [0xA700], "1.2.3.4.1": [0xB000], "1.2.3.4.2": [0xA701, 0xA701]}
    assert push(_open(server), paths).new == 3
    server.answers = {"1.2.3.4.0": [0xA700] * 9}
    server.held.clear()
    with pytest.raises(PartlyDone, match="out of resources"):
        push(_open(server), paths)


def test_damaged_and_foreign_files_do_not_spoil_the_others(archive: Start, write_series: Write, tmp_path: Path) -> None:
    server, paths = archive(), write_series()
    paths[0].write_bytes(b"no DICOM")
    foreign = pydicom.dcmread(paths[1])
    foreign.SOPClassUID = foreign.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.30"
    foreign.save_as(paths[1])
    lines: list[str] = []
    with pytest.raises(PartlyDone, match="2 of 3 instances failed"):
        push(_open(server), paths, progress=lines.append)
    assert any("IM0001.dcm" in line for line in lines)
    assert any("IM0002.dcm: the archive takes no Parametric Map" in line for line in lines)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no DICOM file") as caught:
        push(_open(server), [tmp_path / "empty"])
    assert not isinstance(caught.value, PartlyDone)


def test_archives_that_answer_no_queries_get_everything(archive: Start, write_series: Write, tmp_path: Path) -> None:
    server, paths, lines = archive(queries=False), write_series(), list[str]()
    push(_open(server), paths)
    assert push(_open(server), paths, progress=lines.append).new == 3
    assert any(line.startswith("warning: the archive does not offer queries (C-FIND)") for line in lines)
    with pytest.raises(InputError, match=r"does not offer queries \(C-FIND\)"):
        pull(_open(server), JANUARY, tmp_path)


def test_refusals_are_one_line_and_say_what_to_do(archive: Start, write_series: Write) -> None:
    with silent_port() as port, pytest.raises(InputError, match=r"no connection. Check host and port"):
        open_archive(f"dicom://ARCHIVE@127.0.0.1:{port}", timeout=2).echo()
    server = archive(known="FRIEND")
    _open(server, calling_ae="FRIEND").echo()
    with pytest.raises(InputError, match=r"does not know the AE title AMBIENTMRI. Have it added there"):
        _open(server).echo()
    with pytest.raises(InputError, match=r"is not called OTHER. Check the AE title in the address"):
        open_archive(server.address.replace("ARCHIVE", "OTHER"), calling_ae="FRIEND", timeout=5).echo()
    other = archive(classes=("1.2.840.10008.5.1.4.1.1.2",))
    with pytest.raises(InputError, match="does not offer storage"):
        push(_open(other), write_series())


def test_a_full_disk_stops_the_pull_and_nothing_unwritten_is_acknowledged(
    archive: Start, write_series: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, written = _filled(archive, write_series, count=5), list[Path]()

    def full(path: Path, content: bytes) -> Path:
        if len(written) == 2:
            raise InputError("cannot be written: No space left on device", where=str(path))
        written.append(path)
        return write_file(path, content)

    monkeypatch.setattr(transfer.files, "write", full)
    with pytest.raises(InputError, match="No space left on device"):
        pull(_open(server), JANUARY, tmp_path / "in")
    monkeypatch.undo()
    assert len(list((tmp_path / "in").rglob("*.dcm"))) == 2
    again = pull(_open(server), JANUARY, tmp_path / "in")
    assert (again.new, again.before) == (3, 2)


def test_only_series_that_match_are_pulled_and_results_are_no_input(
    archive: Start, write_series: Write, tmp_path: Path
) -> None:
    server = archive()
    for number, (description, modality) in enumerate(
        (("T2_FLAIR ax", "MR"), ("localizer", "MR"), ("T2_FLAIR ax", "CT"),
         ("RESEARCH - not for diagnostic use: reconstruction", "MR"))
    ):  # fmt: skip
        for path in write_series(str(number), series=f"1.2.3.{number}", description=description, modality=modality):
            dataset = pydicom.dcmread(path)
            server.held[dataset.SOPInstanceUID] = dataset
    flair = Query(study_date="20260110", series_description="*flair*")
    assert pull(_open(server), flair, tmp_path / "a").new == 3
    everything = pull(_open(server), JANUARY, tmp_path / "b")
    assert (everything.new, everything.own) == (6, 1)
    assert pull(_open(server), Query(study_date="20260110", study_description="spine"), tmp_path / "c").new == 0
    assert not (tmp_path / "c").exists()

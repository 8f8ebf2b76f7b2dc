"""An Orthanc for all tests of the room, and an archive of our own that can be told to misbehave."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.pacs import servers
from tests.pacs.servers import Server, Write

pydicom = pytest.importorskip("pydicom", reason="the extra 'dicom' is not installed")
pytest.importorskip("pynetdicom", reason="the extra 'pacs' is not installed")
pytest.importorskip("dicomweb_client", reason="the extra 'pacs' is not installed")


@pytest.fixture(scope="session")
def _orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Orthanc]:
    with servers.orthanc(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


@pytest.fixture
def orthanc(_orthanc: servers.Orthanc) -> servers.Orthanc:
    """Empty."""
    _orthanc.clear()
    return _orthanc


@pytest.fixture
def write_series(tmp_path: Path) -> Write:
    """`write_series(folder, count=3, study="1.2.3", series="1.2.3.4", …)`: a small MR series; returns its files."""

    def write(
        folder: str = "series", count: int = 3, *, study: str = "1.2.3", series: str = "1.2.3.4",
        date: str = "20260110", description: str = "t2_flair", modality: str = "MR",
    ) -> list[Path]:  # fmt: skip
        from ambient_mri.reconstruction.export.dicom import Derivation, write_mr_series
        from ambient_mri.reconstruction.export.dicom_source import Source, planes_of

        image = np.random.default_rng(0).integers(1, 900, (count, 24, 20)).astype(np.float32)
        attributes = {"PatientID": "7", "PatientName": "Doe^Jane", "StudyDate": date, "StudyInstanceUID": study,
                      "StudyDescription": "Brain", "FrameOfReferenceUID": f"{study}.9"}  # fmt: skip
        source = Source(attributes, planes_of(np.diag([2.0, 2.0, 5.0, 1.0]), count))
        write_mr_series(tmp_path / folder, image, source, Derivation("made", "test", input_sha256="a" * 64))
        paths = sorted((tmp_path / folder).iterdir())
        for number, path in enumerate(paths):
            dataset = pydicom.dcmread(path)
            dataset.SeriesInstanceUID, dataset.SOPInstanceUID = series, f"{series}.{number}"
            dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
            dataset.SeriesDescription, dataset.Modality = description, modality
            dataset.save_as(path)
        return paths

    return write


@pytest.fixture
def archive() -> Iterator[Callable[..., Server]]:
    """`archive(classes=…, queries=True)`: start one; stopped after the test."""
    from pynetdicom import AE, evt
    from pynetdicom.sop_class import (
        MRImageStorage,
        StudyRootQueryRetrieveInformationModelFind,
        StudyRootQueryRetrieveInformationModelGet,
        Verification,
    )

    running = []

    def start(
        classes: tuple[str, ...] = (MRImageStorage,), *, queries: bool = True, known: str | None = None
    ) -> Server:
        own, port = AE(ae_title="ARCHIVE"), servers.free_port()
        server = Server(f"dicom://ARCHIVE@127.0.0.1:{port}")
        own.require_called_aet = True
        if known is not None:
            own.require_calling_aet = [known]
        own.add_supported_context(Verification)
        for kind in classes:
            own.add_supported_context(kind, scu_role=True, scp_role=True)
        if queries:
            own.add_supported_context(StudyRootQueryRetrieveInformationModelFind)
            own.add_supported_context(StudyRootQueryRetrieveInformationModelGet)

        def store(event: Any) -> int:
            uid = str(event.request.AffectedSOPInstanceUID)
            server.counted(event, f"store {uid}")
            status = server.answers[uid].pop(0) if server.answers.get(uid) else 0
            if status == 0:
                dataset = event.dataset
                dataset.file_meta = event.file_meta
                server.held[uid] = dataset
            return status

        def find(event: Any) -> Iterator[tuple[int, Any]]:
            asked = event.identifier
            server.counted(event, f"find {asked.QueryRetrieveLevel}")
            unique = {"STUDY": "StudyInstanceUID", "SERIES": "SeriesInstanceUID", "IMAGE": "SOPInstanceUID"}
            seen = set()
            for dataset in list(server.held.values()):
                key = dataset[unique[asked.QueryRetrieveLevel]].value
                places = [p for p in ("StudyInstanceUID", "SeriesInstanceUID") if asked.get(p)]
                if key in seen or any(
                    asked.get(place) and asked[place].value != dataset[place].value for place in places
                ):
                    continue
                seen.add(key)
                answer = pydicom.Dataset()
                for element in asked:
                    setattr(answer, element.keyword, dataset.get(element.keyword, ""))
                answer.QueryRetrieveLevel = asked.QueryRetrieveLevel
                yield 0xFF00, answer

        def get(event: Any) -> Iterator[Any]:
            uids = event.identifier.SOPInstanceUID
            uids = [uids] if isinstance(uids, str) else list(uids)
            yield len(uids)
            for uid in uids:
                server.counted(event, f"get {uid}")
                yield 0xFF00, server.held[uid]

        handlers = [(evt.EVT_C_STORE, store), (evt.EVT_C_FIND, find), (evt.EVT_C_GET, get)]
        running.append(own.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers))
        return server

    yield start
    for server in running:
        server.shutdown()

"""DICOMweb servers that misbehave: how often they are asked, what they are told, what is said."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ambient_mri.errors import InputError, PartlyDone
from ambient_mri.pacs import dicomweb
from ambient_mri.pacs.address import open_archive
from ambient_mri.pacs.query import Query
from ambient_mri.pacs.transfer import pull, push
from tests.pacs.servers import Write


@dataclass
class Stub:
    """Answers every request with `answer(method, path)`: a status and a document."""

    answer: Callable[[str, str], tuple[int, object]]
    asked: list[tuple[str, str]] = field(default_factory=list)
    authorization: set[str | None] = field(default_factory=set)
    url: str = ""


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Stub]]:
    monkeypatch.setattr(dicomweb, "PAUSE_S", 0.01)
    servers = []

    def start(answer: Callable[[str, str], tuple[int, object]]) -> Stub:
        stub = Stub(answer)

        class Handler(BaseHTTPRequestHandler):
            def _reply(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length") or 0))
                stub.asked.append((self.command, self.path))
                stub.authorization.add(self.headers.get("Authorization"))
                status, document = stub.answer(self.command, self.path)
                content = document if isinstance(document, bytes) else json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/dicom+json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = _reply

            def log_message(self, *words: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        stub.url = f"http://127.0.0.1:{server.server_port}/dicom-web"
        return stub

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def _value(**values: str) -> dict[str, object]:
    from pydicom.datadict import tag_for_keyword

    return {f"{tag_for_keyword(key):08X}": {"vr": "UI", "Value": [value]} for key, value in values.items()}


def test_a_silent_archive_is_given_up_soon(serve: Callable[..., Stub], write_series: Write) -> None:
    stub = serve(lambda method, path: (200, []) if method == "GET" else (503, {}))
    with pytest.raises(InputError, match=r"20 of 20 instances failed.*busy \(HTTP 503\)") as caught:
        push(open_archive(stub.url, timeout=5), write_series(count=20))
    assert not isinstance(caught.value, PartlyDone)
    assert sum(method == "POST" for method, _ in stub.asked) == 9, "three instances, each three times"


def test_failures_that_an_archive_lists_are_failures(serve: Callable[..., Stub], write_series: Write) -> None:
    failed = {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [0xA900]}}]}}
    posts = iter([{}, failed, {}])
    stub = serve(lambda method, path: (200, [] if method == "GET" else next(posts)))
    with pytest.raises(PartlyDone, match=r"1 of 3 .*IM0002\.dcm: it does not fit its SOP class \(status A900\)"):
        push(open_archive(stub.url, timeout=5), write_series(count=3))


def test_pages_are_followed_to_the_end_and_a_server_that_ignores_them_is_not_asked_forever(
    serve: Callable[..., Stub], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dicomweb, "PAGE", 2)
    studies = [_value(StudyInstanceUID=f"1.2.{number}") for number in range(5)]

    def paged(method: str, path: str) -> tuple[int, object]:
        offset = int(path.partition("offset=")[2].partition("&")[0] or 0)
        return 200, studies[offset : offset + 2]

    keys = [{"StudyInstanceUID": ""}]
    stub = serve(paged)
    assert len(open_archive(stub.url, timeout=5).search("STUDY", keys)) == 5
    assert len(stub.asked) == 3
    stub = serve(lambda method, path: (200, studies))
    assert len(open_archive(stub.url, timeout=5).search("STUDY", keys)) == 5
    assert len(stub.asked) == 2


def test_tokens_go_to_the_archive_and_answers_of_others_are_refused(
    serve: Callable[..., Stub], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(dicomweb.TOKEN, "secret")
    stub = serve(lambda method, path: (200, []))
    open_archive(stub.url, timeout=5).echo()
    assert stub.authorization == {"Bearer secret"}
    stub = serve(lambda method, path: (200, b"<html>welcome</html>"))
    with pytest.raises(InputError, match="the answer is not DICOMweb") as caught:
        pull(open_archive(stub.url, timeout=5), Query(study_date="20260101"), tmp_path)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "said"),
    [("https://night:swordfish@pacs.example/dicom-web", "a password in an address"),
     ("dicom://PACS:swordfish@pacs.example", "a password in an address"), ("pacs.example", "not the address"),
     ("dicom://pacs.example:104", "not the address"), ("ftp://pacs.example", "not the address"),
     ("dicom://ATITLETHATISTOOLONG@pacs.example", "is no AE title"),
     ("dicom://A@pacs.example:99999", "not the address")],
)  # fmt: skip
def test_addresses_that_are_none_are_refused_and_passwords_not_repeated(address: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        open_archive(address)
    assert "swordfish" not in str(caught.value)


def test_dates_and_queries() -> None:
    from datetime import date

    from ambient_mri.pacs.query import dates

    today = date(2026, 3, 1)
    assert dates("yesterday", today) == "20260228"
    assert dates("2026-01-31..today", today) == "20260131-20260301"
    assert dates("20260131..") == "20260131-"
    for bad in ("tomorrow", "..", "2026-02-30", "20260102..20260101"):
        with pytest.raises(InputError, match="is no date"):
            dates(bad, today)
    with pytest.raises(InputError, match="the whole archive would match"):
        Query()
    with pytest.raises(InputError, match="not a UID"):
        Query(study_uid="1.2.*")
    answer = {"StudyInstanceUID": "1.2.3", "StudyDescription": "Brain [tumour] follow-up"}
    assert Query(study_uid="1.2.3", study_description="BRAIN [t*").wants_study(answer)
    assert not Query(study_uid="1.2.3", study_description="brain").wants_study(answer)
    assert not Query(study_uid="1.2.4").wants_study(answer)

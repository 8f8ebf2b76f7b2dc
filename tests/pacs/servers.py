"""Archives of others, started on loopback: Orthanc, dcmtk's storescp. Free ports, storage in a temporary folder."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

PLUGINS = ("/usr/share/orthanc/plugins", "/usr/local/share/orthanc/plugins")
STARTS_WITHIN_S = 60
Write = Callable[..., list[Path]]


@dataclass(frozen=True)
class Orthanc:
    """A running Orthanc. `ask` speaks its own REST interface, which no code of ours uses."""

    dicom: str
    http: str
    listen: int

    @property
    def web(self) -> str:
        return f"{self.http}/dicom-web"

    def ask(self, path: str, body: bytes | None = None, method: str | None = None) -> Any:
        with urlopen(Request(f"{self.http}{path}", data=body, method=method), timeout=30) as answer:
            content = answer.read()
        return json.loads(content) if answer.headers["Content-Type"].startswith("application/json") else content

    def clear(self) -> None:
        for patient in self.ask("/patients"):
            self.ask(f"/patients/{patient}", method="DELETE")


@dataclass
class Server:
    """A DIMSE archive in this process, and how it misbehaves.

    Parameters
    ----------
    answers
        Status of C-STORE to a SOP Instance UID, once for each in the list.
    breaks
        Number of requests after which the association is aborted, once.
    """

    address: str
    held: dict[str, Any] = field(default_factory=dict)
    answers: dict[str, list[int]] = field(default_factory=dict)
    breaks: list[int] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def counted(self, event: Any, what: str) -> None:
        self.requests.append(what)
        if self.breaks and len(self.requests) >= self.breaks[0]:
            self.breaks.pop(0)
            event.assoc.abort()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def silent_port() -> Iterator[int]:
    """One that refuses connections, and that no other process can open meanwhile."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield int(held.getsockname()[1])


def program(name: str, package: str) -> str:
    """Its path, or the test is skipped."""
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed (Debian: {package})")
    return found


@contextmanager
def running(words: list[str], ready: Callable[[], object], log: Path) -> Iterator[None]:
    """A server, until the block is through; `ready` raises OSError as long as it does not answer."""
    with log.open("w") as said:
        server = subprocess.Popen(words, stdout=said, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + STARTS_WITHIN_S
        while True:
            try:
                ready()
                break
            except OSError:
                if server.poll() is not None or time.monotonic() > deadline:
                    pytest.skip(f"{words[0]} does not start here: {log.read_text()[-500:]}")
                time.sleep(0.1)
        yield
    finally:
        server.terminate()
        try:
            server.wait(10)
        except subprocess.TimeoutExpired:
            server.kill()


@contextmanager
def orthanc(folder: Path, users: dict[str, str] | None = None) -> Iterator[Orthanc]:
    """An empty archive; with `users` (name → password) only they may speak HTTP to it."""
    plugin = next((f"{root}/libOrthancDicomWeb.so" for root in PLUGINS if Path(root, "libOrthancDicomWeb.so").exists()),
                  None)  # fmt: skip
    if plugin is None:
        pytest.skip("Orthanc's DICOMweb is not installed (Debian: orthanc-dicomweb)")
    dicom, http, listen = free_port(), free_port(), free_port()
    configuration = {
        "Name": "test", "StorageDirectory": str(folder / "storage"), "IndexDirectory": str(folder / "index"),
        "Plugins": [plugin], "HttpPort": http, "HttpBindAddresses": ["127.0.0.1"], "DicomPort": dicom,
        "RemoteAccessAllowed": False, "AuthenticationEnabled": bool(users), "RegisteredUsers": users or {},
        "DicomAet": "ORTHANC", "DicomCheckCalledAet": True,
        "DicomModalities": {"us": ["AMBIENTMRI", "127.0.0.1", listen]},
        "DicomAlwaysAllowFind": False, "DicomAlwaysAllowGet": False, "DicomAlwaysAllowMove": False,
        "ConcurrentJobs": 1, "HttpThreadsCount": 4, "StableAge": 1,
    }  # fmt: skip
    (folder / "orthanc.json").write_text(json.dumps(configuration))
    found = Orthanc(f"dicom://ORTHANC@127.0.0.1:{dicom}", f"http://127.0.0.1:{http}", listen)
    words = [program("Orthanc", "orthanc"), str(folder / "orthanc.json")]
    with running(words, lambda: socket.create_connection(("127.0.0.1", http), 1).close(), folder / "orthanc.log"):
        yield found

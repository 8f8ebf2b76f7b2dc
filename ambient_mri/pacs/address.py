"""Where an archive is: `dicom://AE@host:port` or `http(s)://…/dicom-web`."""

from __future__ import annotations

from urllib.parse import urlsplit

from ambient_mri.errors import InputError
from ambient_mri.pacs.archive import Archive
from ambient_mri.pacs.association import Peer
from ambient_mri.pacs.dicomweb import WebArchive
from ambient_mri.pacs.dimse import DimseArchive

CALLING_AE = "AMBIENTMRI"
TIMEOUT_S = 30.0
DICOM_PORT = 104


def open_archive(
    address: str, *, calling_ae: str = CALLING_AE, timeout: float = TIMEOUT_S, listen: str | None = None
) -> Archive:
    """The archive at an address; nothing is sent yet.

    Parameters
    ----------
    address
        `dicom://AE@host:port` (port 104 if none is given), or `http://` or `https://` and the root of DICOMweb.
    calling_ae
        How we call ourselves to a DIMSE archive.
    timeout
        Seconds without an answer after which a request is given up.
    listen
        `PORT` or `HOST:PORT`: fetch by C-MOVE to this port, where C-GET is not offered. The archive has to know our AE
        title at this port.

    Raises
    ------
    InputError
        If the address is none, or holds a password.
    """
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        raise _no_address(address) from None
    if parts.password is not None or (parts.scheme in ("http", "https") and parts.username is not None):
        raise InputError("a password in an address ends up in process lists and logs", where="SERVER",
                         remedy="Leave it out; give it by AMBIENT_MRI_PACS_USER and AMBIENT_MRI_PACS_PASSWORD, by "
                         "AMBIENT_MRI_PACS_TOKEN, or in ~/.netrc")  # fmt: skip
    if parts.query or parts.fragment or not parts.hostname:
        raise _no_address(address)
    if parts.scheme in ("http", "https"):
        if listen is not None:
            raise InputError("DICOMweb needs no listening port", where="--listen", remedy="Leave it out")
        return WebArchive(address.rstrip("/"), timeout)
    if parts.scheme != "dicom" or not parts.username or parts.path.strip("/"):
        raise _no_address(address)
    peer = Peer(_title(parts.username, "SERVER"), parts.hostname, port or DICOM_PORT, _title(calling_ae, "--ae-title"),
                timeout)  # fmt: skip
    return DimseArchive(peer, None if listen is None else _listening(listen))


def _title(text: str, where: str) -> str:
    """An AE title: up to 16 characters, no backslash, no control character (PS3.5 6.2)."""
    title = text.strip()
    if not 1 <= len(title) <= 16 or not title.isascii() or not title.isprintable() or "\\" in title:
        raise InputError(f"{text!r} is no AE title: 1 to 16 ASCII characters", where=where)
    return title


def _listening(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise InputError(f"{text!r} is no port", where="--listen", remedy="Such as 11113 or 192.0.2.7:11113")
    return host or "0.0.0.0", int(port)  # noqa: S104 # the archive connects from outside


def _no_address(address: str) -> InputError:
    return InputError("not the address of an archive", where=repr(address.rpartition("@")[2]),
                      remedy="Such as dicom://ORTHANC@localhost:4242 or https://pacs.example/dicom-web")  # fmt: skip

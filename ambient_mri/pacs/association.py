"""A DICOM association, opened or refused in one line. Nothing that an archive says is logged: it may hold names."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ambient_mri.errors import InputError
from ambient_mri.pacs.archive import NotOffered, Refused, Unreachable

CALLED_UNKNOWN, CALLING_UNKNOWN = 7, 3  # diagnostics of the service user (PS3.8 table 9-21)
QUOTING = ("pynetdicom", "dicomweb_client", "urllib3")


@dataclass(frozen=True)
class Peer:
    """Both ends of an association, and how many seconds to wait for an answer."""

    title: str
    host: str
    port: int
    calling: str
    timeout: float

    def __str__(self) -> str:
        return f"dicom://{self.title}@{self.host}:{self.port}"


@contextmanager
def unlogged() -> Iterator[None]:
    """Inside, the loggers of the network libraries are silent: they quote UIDs, names and headers."""
    loggers = [logging.getLogger(name) for name in QUOTING]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def entity(peer: Peer) -> Any:
    """Our application entity, with its timeouts.

    Raises
    ------
    InputError
        If pynetdicom is not installed.
    """
    try:
        from pynetdicom import AE
    except ModuleNotFoundError:
        raise InputError("DIMSE needs pynetdicom", remedy="Install ambient-mri[pacs]") from None
    own = AE(ae_title=peer.calling)
    own.acse_timeout = own.dimse_timeout = own.connection_timeout = peer.timeout
    own.network_timeout = 2 * peer.timeout
    return own


@contextmanager
def associated(
    peer: Peer, contexts: Sequence[tuple[str, Sequence[str]]], *, needed: str = "", service: str = "",
    received: Sequence[str] = (), store: Callable[[Any], int] | None = None,
) -> Iterator[Any]:  # fmt: skip
    """An open association, released at the end.

    Parameters
    ----------
    contexts
        (SOP class, transfer syntaxes) to propose, 128 at most.
    needed, service
        SOP class without which the association is of no use, and what it is called.
    received
        SOP classes that we receive instead of sending (C-GET).
    store
        Receives them: handler of pynetdicom's C-STORE event, returns a status.

    Raises
    ------
    Unreachable
        If there is no connection, or it breaks off.
    Refused
        If the archive does not know one of the AE titles, or does not offer what is needed.
    """
    own, connected = entity(peer), []
    from pynetdicom import build_context, build_role, evt

    proposed = [build_context(sop_class, list(syntaxes)) for sop_class, syntaxes in contexts]
    handlers: list[Any] = [(evt.EVT_CONN_OPEN, lambda event: connected.append(True))]
    if store is not None:
        handlers.append((evt.EVT_C_STORE, store))
    roles: list[Any] = [build_role(sop_class, scp_role=True) for sop_class in received]
    with unlogged():
        association = own.associate(
            peer.host, peer.port, contexts=proposed, ae_title=peer.title, ext_neg=roles, evt_handlers=handlers
        )
        if not association.is_established:
            raise _not_opened(peer, association, bool(connected), service)
        try:
            if needed and needed not in {context.abstract_syntax for context in association.accepted_contexts}:
                raise NotOffered(f"the archive does not offer {service}", where=str(peer))
            yield association
        finally:
            if association.is_established:
                association.release()


def _not_opened(peer: Peer, association: Any, connected: bool, service: str) -> InputError:
    where = str(peer)
    if not connected:
        return Unreachable("no connection", where=where, remedy="Check host and port, and whether the archive runs")
    if not association.is_rejected:
        if association.rejected_contexts:
            return NotOffered(f"the archive does not offer {service or 'this service'}", where=where)
        return Unreachable("the archive broke the association off, or did not answer in time", where=where,
                           remedy="Try again, or with a longer --timeout")  # fmt: skip
    answer = association.acceptor.primitive
    by_user = answer.result_source == 1
    if by_user and answer.diagnostic == CALLED_UNKNOWN:
        return Refused(
            f"the archive is not called {peer.title}", where=where, remedy="Check the AE title in the address"
        )
    if by_user and answer.diagnostic == CALLING_UNKNOWN:
        return Refused(f"the archive does not know the AE title {peer.calling}", where=where,
                       remedy="Have it added there, or give one that is known as --ae-title")  # fmt: skip
    kind = Unreachable if answer.result == 2 else Refused  # transient, permanent
    return kind(f"the archive rejected the association: {str(answer.reason_str).lower()}", where=where)

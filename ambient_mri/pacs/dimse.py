"""An archive by DIMSE: C-ECHO, C-FIND, C-GET or C-MOVE, C-STORE (PS3.4 annexes A to C; study root)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ambient_mri.pacs.archive import (
    CLASSES,
    NOT_OFFERED,
    PAUSE_S,
    TRIES,
    Instance,
    Keep,
    Level,
    NotOffered,
    Refused,
    StoredFile,
    Unreachable,
    status_meaning,
)
from ambient_mri.pacs.association import Peer, associated, entity, unlogged

VERIFICATION = "1.2.840.10008.1.1"
FIND, MOVE, GET = (f"1.2.840.10008.5.1.4.1.2.2.{number}" for number in (1, 2, 3))
IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
SYNTAXES = (
    EXPLICIT, IMPLICIT, "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.57",
    "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.90",
    "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.5",
)  # fmt: skip
"""Uncompressed, JPEG, JPEG-LS, JPEG 2000, RLE: what the reader decodes."""
UIDS_AT_ONCE = 50
PENDING, SUCCESS, PARTLY = (0xFF00, 0xFF01), 0x0000, 0xB000
STORED_WITH_REMARKS = (0xB000, 0xB006, 0xB007)  # PS3.4 table B.2-1
NO_RESOURCES = 0xA700


class DimseArchive:
    """See `archive.Archive`.

    Parameters
    ----------
    listen
        Address at which C-MOVE delivers; None: C-GET.
    """

    def __init__(self, peer: Peer, listen: tuple[str, int] | None = None) -> None:
        self.peer, self.listen = peer, listen

    def __str__(self) -> str:
        return str(self.peer)

    def echo(self) -> None:
        """C-ECHO."""
        contexts = [(VERIFICATION, [IMPLICIT])]
        with associated(self.peer, contexts, needed=VERIFICATION, service="C-ECHO") as association:
            status = association.send_c_echo()
            if "Status" not in status or status.Status != SUCCESS:
                raise Unreachable("no answer to C-ECHO", where=str(self))

    def search(self, level: Level, requests: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
        """C-FIND, one after the other in one association."""
        return self._retried(lambda: self._search(level, requests)) if requests else []

    def _search(self, level: Level, requests: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
        contexts = [(FIND, [EXPLICIT, IMPLICIT])]
        found = []
        with associated(self.peer, contexts, needed=FIND, service="queries (C-FIND)") as association:
            for keys in requests:
                for status, answer in association.send_c_find(_identifier(level, keys), FIND):
                    if "Status" not in status:
                        raise Unreachable("the archive stopped answering a query", where=str(self))
                    if status.Status not in (SUCCESS, *PENDING):
                        kind = NotOffered if status.Status in NOT_OFFERED else Refused
                        raise kind(f"a query failed: {status_meaning(status.Status)}", where=str(self))
                    if status.Status in PENDING and answer is not None:
                        found.append({keyword: _text(answer, keyword) for keyword in keys})
        return found

    def fetch(self, instances: Sequence[Instance], keep: Keep) -> dict[str, str]:
        """C-GET, or C-MOVE to our own port; what did not come is asked for again."""
        arrived: set[str] = set()
        broken: list[BaseException] = []

        def store(event: Any) -> int:
            uid = str(event.request.AffectedSOPInstanceUID)
            try:
                keep(uid, event.encoded_dataset())
            except BaseException as problem:  # of a thread of pynetdicom: carried to ours
                broken.append(problem)
                return NO_RESOURCES
            arrived.add(uid)
            return SUCCESS

        reasons: dict[str, str] = {}
        remaining = list(instances)
        for attempt in range(TRIES):
            _pause(attempt)
            try:
                with self._bringing(store) as ask:
                    for chunk in _chunks(remaining):
                        reason = ask(_identifier("IMAGE", _keys(chunk)))
                        if broken:
                            raise broken[0]
                        reasons |= {one.uid: reason for one in chunk}
            except Unreachable as problem:
                if attempt == TRIES - 1 and not arrived:
                    raise
                reasons |= {one.uid: problem.what for one in remaining}
            remaining = [one for one in remaining if one.uid not in arrived]
            if not remaining:
                break
        return {one.uid: reasons[one.uid] or "the archive did not send it" for one in remaining}

    @contextmanager
    def _bringing(self, store: Callable[[Any], int]) -> Iterator[Callable[[Any], str]]:
        """What asks for instances, which come to `store`; it returns why not all did."""
        if self.listen is None:
            contexts = [(GET, [EXPLICIT, IMPLICIT]), *((kind, [syntax]) for kind in CLASSES for syntax in SYNTAXES)]
            with associated(
                self.peer, contexts, needed=GET, service="C-GET (--listen PORT fetches by C-MOVE instead)",
                received=tuple(CLASSES), store=store,
            ) as association:  # fmt: skip
                yield lambda identifier: self._outcome(association.send_c_get(identifier, GET))
            return
        with self._listening(store), associated(
            self.peer, [(MOVE, [EXPLICIT, IMPLICIT])], needed=MOVE, service="C-MOVE"
        ) as association:  # fmt: skip
            own = self.peer.calling
            yield lambda identifier: self._outcome(association.send_c_move(identifier, own, MOVE))

    @contextmanager
    def _listening(self, store: Callable[[Any], int]) -> Iterator[None]:
        """Our own port is open, to this archive alone."""
        from pynetdicom import evt

        own = entity(self.peer)
        for kind in CLASSES:
            own.add_supported_context(kind, list(SYNTAXES))
        own.require_called_aet, own.require_calling_aet = True, [self.peer.title]
        with unlogged():
            try:
                server = own.start_server(self.listen, block=False, evt_handlers=[(evt.EVT_C_STORE, store)])
            except OSError:
                raise Refused("this port cannot be opened here, perhaps it is in use", where="--listen") from None
            try:
                yield
            finally:
                server.shutdown()

    def _outcome(self, answers: Any) -> str:
        status = None
        for status, _ in answers:
            if "Status" not in status:
                raise Unreachable("the archive stopped sending", where=str(self))
        if status is None or status.Status in (SUCCESS, PARTLY):
            return ""
        return status_meaning(status.Status)

    def store(self, stored: Sequence[StoredFile]) -> Iterator[tuple[StoredFile, str]]:
        """C-STORE, each in the transfer syntax it lies in."""
        remaining, reasons = list(stored), dict[StoredFile, str]()
        for attempt in range(TRIES):
            if not remaining:
                return
            _pause(attempt)
            kinds = dict.fromkeys((one.sop_class, one.transfer_syntax) for one in remaining)
            left: list[StoredFile] = []
            try:
                with associated(self.peer, [(kind, [syntax]) for kind, syntax in kinds], service="storage") as link:
                    while remaining:
                        reason, again = _sent(link, remaining[0])
                        one = remaining.pop(0)
                        if again:
                            left.append(one)
                            reasons[one] = reason
                        else:
                            yield one, reason
            except Unreachable as problem:
                if attempt == TRIES - 1 and len(remaining) == len(stored):
                    raise
                reasons |= dict.fromkeys(remaining, problem.what)
            except NotOffered as problem:  # no kind at all is accepted
                yield from ((one, problem.what) for one in remaining)
                return
            remaining = left + remaining
        yield from ((one, reasons[one]) for one in remaining)

    def _retried(self, ask: Callable[[], list[dict[str, str]]]) -> list[dict[str, str]]:
        for attempt in range(TRIES - 1):
            try:
                return ask()
            except Unreachable:
                _pause(attempt + 1)
        return ask()


def _sent(link: Any, one: StoredFile) -> tuple[str, bool]:
    """Why a file was not stored, and whether to try again."""
    if not any(context.abstract_syntax == one.sop_class for context in link.accepted_contexts):
        return f"the archive takes no {CLASSES.get(one.sop_class, 'instances of this SOP class')}", False
    try:
        status = link.send_c_store(one.path)
    except ValueError:
        return "the archive does not take its compression, or it cannot be encoded", False
    except RuntimeError:  # the association is gone
        raise Unreachable("the archive broke the association off", where=str(one.path)) from None
    except Exception:  # pydicom raises what the bytes provoke
        return "the file is damaged", False
    if "Status" not in status:
        raise Unreachable("the archive did not answer", where=str(one.path))
    if status.Status == SUCCESS or status.Status in STORED_WITH_REMARKS:
        return "", False
    return status_meaning(status.Status), status.Status >> 8 == NO_RESOURCES >> 8


def _identifier(level: Level, keys: Mapping[str, str]) -> Any:
    from pydicom.dataset import Dataset

    dataset: Any = Dataset()
    dataset.QueryRetrieveLevel = level
    for keyword, value in keys.items():
        setattr(dataset, keyword, value.split("\\") if "\\" in value else value)
    return dataset


def _keys(chunk: Sequence[Instance]) -> dict[str, str]:
    first = chunk[0]
    uids = "\\".join(one.uid for one in chunk)
    return {"StudyInstanceUID": first.study, "SeriesInstanceUID": first.series, "SOPInstanceUID": uids}


def _chunks(instances: Sequence[Instance]) -> Iterator[list[Instance]]:
    """Instances of one series, so many at once as an identifier may list."""
    series: dict[tuple[str, str], list[Instance]] = {}
    for one in instances:
        series.setdefault((one.study, one.series), []).append(one)
    for members in series.values():
        for first in range(0, len(members), UIDS_AT_ONCE):
            yield members[first : first + UIDS_AT_ONCE]


def _text(answer: Any, keyword: str) -> str:
    try:
        value = answer.get(keyword)
    except Exception:  # a value that breaks the rules of its type
        return ""
    if value is None:
        return ""
    return "\\".join(map(str, value)) if not isinstance(value, str) and hasattr(value, "__iter__") else str(value)


def _pause(attempt: int) -> None:
    if attempt:
        time.sleep(PAUSE_S * 2 ** (attempt - 1))

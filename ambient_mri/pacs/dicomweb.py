"""An archive by DICOMweb: QIDO-RS, WADO-RS, STOW-RS (PS3.18). Credentials come from the environment or ~/.netrc."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import Any, TypeVar

from ambient_mri.data.readers.dicom_frames import unquoted
from ambient_mri.errors import InputError
from ambient_mri.pacs.archive import (
    PAUSE_S,
    TRIES,
    Instance,
    Keep,
    Level,
    Refused,
    StoredFile,
    Unreachable,
    status_meaning,
)
from ambient_mri.pacs.association import unlogged

T = TypeVar("T")
PAGE = 1000
BUSY = (408, 429, 502, 503, 504)
CONFLICT = 409  # STOW-RS: nothing was stored
GIVE_UP = 3  # instances in a row for which the archive did not answer
WHOLE = 2**40  # bytes: an instance is sent in one piece, as pieces cannot be sent a second time
USER, PASSWORD, TOKEN = (f"AMBIENT_MRI_PACS_{what}" for what in ("USER", "PASSWORD", "TOKEN"))
LEVELS = {"STUDY": "search_for_studies", "SERIES": "search_for_series", "IMAGE": "search_for_instances"}
UNIQUE = {"StudyInstanceUID": "study_instance_uid", "SeriesInstanceUID": "series_instance_uid"}


class WebArchive:
    """See `archive.Archive`."""

    def __init__(self, url: str, timeout: float) -> None:
        self.url, self.timeout = url, timeout

    def __str__(self) -> str:
        return self.url

    @cached_property
    def _client(self) -> Any:
        try:
            import requests
            from dicomweb_client import DICOMwebClient
        except ModuleNotFoundError:
            raise InputError("DICOMweb needs dicomweb-client", remedy="Install ambient-mri[pacs]") from None
        session = requests.Session()  # reads ~/.netrc, proxies and REQUESTS_CA_BUNDLE
        user, token = os.environ.get(USER), os.environ.get(TOKEN)
        if token:
            session.auth = _bearer(token)
        elif user:
            session.auth = (user, os.environ.get(PASSWORD, ""))
        client = DICOMwebClient(self.url, session=session, timeout=self.timeout, chunk_size=WHOLE)
        client.set_http_retry_params(retry=False)  # its own retries would also repeat what cannot succeed
        return client

    def echo(self) -> None:
        """A search for one study."""
        self._listed(partial(self._client.search_for_studies, limit=1, fields=["StudyInstanceUID"]), tries=1)

    def search(self, level: Level, requests: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
        """QIDO-RS, page by page."""
        return [answer for keys in requests for answer in self._search(level, keys)]

    def _search(self, level: Level, keys: Mapping[str, str]) -> list[dict[str, str]]:
        ask = getattr(self._client, LEVELS[level])
        place = {} if level == "STUDY" else {key: keys[key] for key in UNIQUE if keys.get(key)}  # in the URL
        within = {UNIQUE[key]: value for key, value in place.items()}
        filters = {key: value for key, value in keys.items() if value and key not in place}
        found: dict[str, dict[str, str]] = {}
        while True:
            offset = len(found)
            query = partial(ask, search_filters=filters, fields=list(keys), limit=PAGE, offset=offset, **within)
            page = self._listed(query)
            for item in page:
                answer = {keyword: _text(item, keyword) for keyword in keys} | place
                found.setdefault("\0".join(answer.values()), answer)
            if len(page) < PAGE or len(found) == offset:
                return list(found.values())

    def fetch(self, instances: Sequence[Instance], keep: Keep) -> dict[str, str]:
        """WADO-RS, one instance a request, in the transfer syntax that the archive has."""
        failed: dict[str, str] = {}
        silent = 0
        for number, one in enumerate(instances):
            try:
                with unquoted():
                    dataset = self._asked(partial(self._client.retrieve_instance, one.study, one.series, one.uid))
                    content = _file(dataset)
                    uid = str(dataset.get("SOPInstanceUID"))
            except (Refused, Unreachable) as problem:
                failed[one.uid] = problem.what
                silent = silent + 1 if isinstance(problem, Unreachable) else 0
                if silent == GIVE_UP:
                    return failed | {other.uid: problem.what for other in instances[number + 1 :]}
                continue
            silent = 0
            if uid != one.uid:
                failed[one.uid] = "the archive sent another instance"
                continue
            keep(uid, content)
        return failed

    def store(self, stored: Sequence[StoredFile]) -> Iterator[tuple[StoredFile, str]]:
        """STOW-RS, one instance a request."""
        from pydicom import dcmread

        silent = 0
        for number, one in enumerate(stored):
            try:
                with unquoted():
                    dataset = dcmread(one.path)
            except Exception:  # pydicom raises what the bytes provoke
                yield one, "the file is damaged"
                continue
            try:
                answer = self._asked(partial(self._client.store_instances, [dataset]))
                failed = answer.get("FailedSOPSequence") or []
                silent = 0
                yield one, status_meaning(int(failed[0].get("FailureReason") or 0)) if failed else ""
            except (Refused, Unreachable) as problem:
                yield one, problem.what
                silent = silent + 1 if isinstance(problem, Unreachable) else 0
                if silent == GIVE_UP:
                    yield from ((other, problem.what) for other in stored[number + 1 :])
                    return

    def _listed(self, query: Callable[[], Any], tries: int = TRIES) -> list[dict[str, Any]]:
        """What a search answers, once it is known to be DICOM JSON."""
        answer = self._asked(query, tries)
        if not all(isinstance(item, dict) for item in answer):
            raise self._no_dicomweb()
        return list(answer)

    def _no_dicomweb(self) -> Refused:
        return Refused("the answer is not DICOMweb", where=self.url,
                       remedy="Check the path of the service; archives often call it /dicom-web")  # fmt: skip

    def _asked(self, request: Callable[[], T], tries: int = TRIES) -> T:
        """What a request returns, tried again where the archive is busy or does not answer.

        What the libraries say stays unsaid: it quotes addresses that hold UIDs.
        """
        import requests

        for attempt in range(tries):
            try:
                with unlogged():
                    return request()
            except requests.exceptions.RequestException as problem:
                told: Refused | Unreachable = self._told(problem)
            except (ValueError, KeyError, TypeError, AttributeError, IndexError):
                told = self._no_dicomweb()
            if isinstance(told, Refused) or attempt == tries - 1:
                raise told from None
            time.sleep(PAUSE_S * 2**attempt)
        raise AssertionError("unreachable: the last try returns or raises")

    def _told(self, problem: Any) -> Refused | Unreachable:
        import requests

        status = None if problem.response is None else int(problem.response.status_code)
        if status in (401, 403):
            return Refused(f"the archive wants other credentials (HTTP {status})", where=self.url,
                           remedy=f"Set {USER} and {PASSWORD}, or {TOKEN}, or ~/.netrc")  # fmt: skip
        if status in BUSY:
            return Unreachable(f"the archive is busy (HTTP {status})", where=self.url, remedy="Try again later")
        if status in (400, 404, 405):
            return Refused(f"not found, or not understood (HTTP {status})", where=self.url,
                           remedy="Check the path of the service; archives often call it /dicom-web")  # fmt: skip
        if status == CONFLICT:
            return Refused("the archive did not store it (HTTP 409)", where=self.url)
        if status is not None:
            return Refused(f"the archive failed (HTTP {status})", where=self.url)
        if isinstance(problem, requests.exceptions.SSLError):
            return Refused("its certificate cannot be verified", where=self.url,
                           remedy="Name the authority's certificate in REQUESTS_CA_BUNDLE")  # fmt: skip
        if isinstance(problem, requests.exceptions.Timeout):
            return Unreachable(f"no answer within {self.timeout:g} s", where=self.url, remedy="Try a longer --timeout")
        if isinstance(problem, requests.exceptions.JSONDecodeError):
            return self._no_dicomweb()
        return Unreachable("no connection", where=self.url, remedy="Check host and port, and whether the archive runs")


def _text(item: Mapping[str, Any], keyword: str) -> str:
    """A value of DICOM JSON."""
    from pydicom.datadict import tag_for_keyword

    values = item.get(f"{tag_for_keyword(keyword):08X}", {}).get("Value") or []
    return "\\".join(str(value) for value in values)


def _file(dataset: Any) -> bytes:
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def _bearer(token: str) -> Any:
    from requests.auth import AuthBase

    class Bearer(AuthBase):
        def __call__(self, request: Any) -> Any:
            request.headers["Authorization"] = f"Bearer {token}"
            return request

    return Bearer()

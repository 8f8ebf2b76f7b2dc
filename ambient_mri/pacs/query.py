"""Which series of an archive are wanted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from ambient_mri.errors import InputError

UID = re.compile(r"[0-9]+(\.[0-9]+)+")
SUCH_AS = "Such as yesterday, 2026-01-31 or 2026-01-01..2026-01-31"
RELATIVE = {"today": 0, "yesterday": 1}


@dataclass(frozen=True)
class Query:
    """What to look for; what is empty matches everything.

    Parameters
    ----------
    study_date
        "20260131", or a range "20260101-20260131" open at either end: see `dates`.
    modality
        Of series, e.g. "MR".
    study_description, series_description
        With wildcards `*` and `?`, upper and lower case alike. Compared here, as archives are free not to.
    study_uid
        Study Instance UID.

    Raises
    ------
    InputError
        If it would match the whole archive, or a UID is none.
    """

    study_date: str = ""
    modality: str = "MR"
    study_description: str = ""
    series_description: str = ""
    study_uid: str = ""

    def __post_init__(self) -> None:
        if not self.study_date and not self.study_uid:
            raise InputError("neither a study date nor a study: the whole archive would match", where="query",
                             remedy="Give --study-date or --study-uid")  # fmt: skip
        if self.study_uid and not (UID.fullmatch(self.study_uid) and len(self.study_uid) <= 64):
            raise InputError("not a UID: numbers with dots between them, 64 characters at most", where="--study-uid")

    def study_keys(self) -> dict[str, str]:
        """What an archive is asked for at the level of studies."""
        keys = {"StudyDate": self.study_date, "StudyInstanceUID": self.study_uid, "StudyDescription": ""}
        return keys | ({"ModalitiesInStudy": self.modality} if self.modality else {})

    def series_keys(self, study_uid: str) -> dict[str, str]:
        """What it is asked for at the level of series."""
        return {"StudyInstanceUID": study_uid, "SeriesInstanceUID": "", "Modality": self.modality,
                "SeriesDescription": ""}  # fmt: skip

    def wants_study(self, answer: Mapping[str, str]) -> bool:
        """Whether a study that was listed is wanted."""
        named = not self.study_uid or answer["StudyInstanceUID"] == self.study_uid
        return named and _matches(self.study_description, answer["StudyDescription"])

    def wants_series(self, answer: Mapping[str, str]) -> bool:
        """Whether a series that was listed is wanted."""
        described = _matches(self.series_description, answer["SeriesDescription"])
        return described and (not self.modality or answer["Modality"] in ("", self.modality))


def dates(text: str, today: date | None = None) -> str:
    """A date or a range as DICOM writes them.

    Parameters
    ----------
    text
        "today", "yesterday", "20260131" or "2026-01-31", or two of these with ".." between, open at either end.

    Raises
    ------
    InputError
        If it is something else, or ends before it starts.
    """
    first, dots, last = text.partition("..")
    start, end = (_day(part, today or date.today()) if part else "" for part in (first, last))
    if not (start or end) or (start and end and end < start):
        raise InputError(f"{text!r} is no date and no range of dates", where="--study-date", remedy=SUCH_AS)
    return f"{start}-{end}" if dots else start


def _day(text: str, today: date) -> str:
    if text in RELATIVE:
        return (today - timedelta(days=RELATIVE[text])).strftime("%Y%m%d")
    try:
        return date.fromisoformat(text).strftime("%Y%m%d")
    except ValueError:
        raise InputError(f"{text!r} is no date", where="--study-date", remedy=SUCH_AS) from None


def _matches(pattern: str, value: str) -> bool:
    if not pattern:
        return True
    parts = {"*": ".*", "?": "."}
    expression = "".join(parts.get(letter) or re.escape(letter) for letter in pattern)
    return re.fullmatch(expression, value.strip(), re.IGNORECASE) is not None

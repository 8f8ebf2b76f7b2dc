"""What an archive is, whatever it speaks: it answers searches, sends instances and stores them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from ambient_mri.data.readers.dicom_files import pseudonym, series_name
from ambient_mri.errors import InputError

Level = Literal["STUDY", "SERIES", "IMAGE"]
Keep = Callable[[str, bytes], None]
"""Takes the SOP Instance UID and the file of an instance that has arrived."""

CLASSES = {
    "1.2.840.10008.5.1.4.1.1.4": "MR Image",
    "1.2.840.10008.5.1.4.1.1.4.1": "Enhanced MR Image",
    "1.2.840.10008.5.1.4.1.1.4.4": "Legacy Converted Enhanced MR Image",
    "1.2.840.10008.5.1.4.1.1.7": "Secondary Capture Image",
    "1.2.840.10008.5.1.4.1.1.30": "Parametric Map",
    "1.2.840.10008.5.1.4.1.1.66": "Raw Data",
    "1.2.840.10008.5.1.4.1.1.66.4": "Segmentation",
}
"""SOP classes that are asked for; others, such as presentation states and reports, stay in the archive."""

TRIES = 3
PAUSE_S = 1.0
"""Before the second try; doubled before each further one."""


class Refused(InputError):
    """The archive answers, and does not do what it was asked for: no second try would change that."""


class NotOffered(Refused):
    """The archive does not offer this service, or not to us."""


class Unreachable(InputError):
    """The archive does not answer, or stopped doing so: it may later."""


@dataclass(frozen=True)
class Instance:
    """An instance as an archive lists it. Its UIDs lead to a patient: `str` and names of files are made of hashes."""

    study: str = field(repr=False)
    series: str = field(repr=False)
    uid: str = field(repr=False)

    @property
    def folder(self) -> str:
        """Of its series, as reconstructions of it are called too."""
        return series_name(self.study, self.series)

    def __str__(self) -> str:
        return f"{self.folder}/{pseudonym(self.uid, 16)}.dcm"


@dataclass(frozen=True)
class StoredFile:
    """A DICOM file that can be sent as it is."""

    path: Path
    instance: Instance
    sop_class: str
    transfer_syntax: str


class Archive(Protocol):
    """A server, by DIMSE or DICOMweb. Every method raises `Refused` or `Unreachable` where nothing can be done."""

    def echo(self) -> None:
        """Return if the archive answers."""

    def search(self, level: Level, requests: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
        """Everything that matches one of the requests.

        Parameters
        ----------
        requests
            DICOM keyword → value to match; "" asks for the value. Answers hold the same keywords, "" if not stated.
        """

    def fetch(self, instances: Sequence[Instance], keep: Keep) -> dict[str, str]:
        """Bring instances; returns UID → reason of those that did not come.

        An instance is acknowledged after `keep` has returned. What `keep` raises stops everything and is raised.
        """

    def store(self, stored: Sequence[StoredFile]) -> Iterator[tuple[StoredFile, str]]:
        """Send files; yields each with why it was not stored, "" if it was."""


NOT_OFFERED = (0x0122, 0x0124)


def status_meaning(status: int) -> str:
    """What a status of C-STORE, C-GET, C-MOVE or STOW says (PS3.7 annex C, PS3.4 annexes B and C)."""
    families = {0xA7: "out of resources", 0xA8: "the destination is not known", 0xA9: "it does not fit its SOP class"}
    exact = {0x0110: "processing failed", 0x0111: "it exists already, with other content", 0x0122: "its SOP class is "
             "not supported", 0x0124: "not authorized", 0xFE00: "cancelled"}  # fmt: skip
    meaning = exact.get(status) or families.get(status >> 8, "it could not be processed")
    return f"{meaning} (status {status:04X})"

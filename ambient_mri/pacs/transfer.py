"""Pull and push: only what is not there yet, whatever interrupted the last run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ambient_mri import files
from ambient_mri.data.readers.dicom_files import find_files, read_header
from ambient_mri.data.readers.dicom_frames import unquoted
from ambient_mri.errors import InputError, PartlyDone
from ambient_mri.pacs.archive import CLASSES, Archive, Instance, NotOffered, StoredFile
from ambient_mri.pacs.query import Query
from ambient_mri.reconstruction.export.dicom import WARNING

LOG = logging.getLogger(__name__)

SECONDS_BETWEEN_LINES = 5.0
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Pulled:
    """What a pull brought.

    Parameters
    ----------
    series
        Folders of the series that match and are complete, in the order of the archive.
    incomplete
        Folders of those of which instances did not come: not to be worked on.
    new, before
        Instances that came now, and those that were here already.
    own
        Series left out because ambient-mri made them: they are results, not input.
    """

    series: tuple[Path, ...]
    incomplete: tuple[Path, ...]
    new: int
    before: int
    own: int

    def __str__(self) -> str:
        own = f"; {self.own} series of derived images left out" if self.own else ""
        count = len(self.series) + len(self.incomplete)
        return f"{count} series: {self.new} instances pulled, {self.before} were here{own}"


@dataclass(frozen=True)
class Pushed:
    """What a push did: instances stored now, and those that the archive had."""

    new: int
    before: int

    def __str__(self) -> str:
        return f"{self.new} instances stored, {self.before} were there"


def pull(archive: Archive, query: Query, out: Path | str, *, progress: Progress = LOG.info) -> Pulled:
    """Bring the series that match into `out`: a folder a series, a file an instance, all named by hashes of UIDs.

    Instances that are there are not asked for again, so that the same command goes on after an interruption.

    Raises
    ------
    InputError
        If the archive cannot be asked, or nothing came of what matched.
    PartlyDone
        If some instances did not come.
    """
    out = Path(out)
    instances, own = _matching(archive, query)
    paths = {one.uid: out / str(one) for one in instances}
    missing = [one for one in instances if not paths[one.uid].exists()]
    before = len(instances) - len(missing)
    folders = tuple(dict.fromkeys(path.parent for path in paths.values()))
    progress(f"{len(folders)} series with {len(instances)} instances match, {before} instances are here")
    if missing:
        out.mkdir(mode=0o700, parents=True, exist_ok=True)  # they are a patient's
    pace = _Pace(len(missing), progress)

    def keep(uid: str, content: bytes) -> None:
        if uid in paths:  # an archive that sends more than was asked for is not followed
            files.write(paths[uid], content)
            pace.step()

    failed = archive.fetch(missing, keep) if missing else {}
    incomplete = tuple(dict.fromkeys(paths[uid].parent for uid in failed))
    complete = tuple(folder for folder in folders if folder not in incomplete)
    pulled = Pulled(complete, incomplete, len(missing) - len(failed), before, own)
    _raise_failures([f"{paths[uid]}: {reason}" for uid, reason in failed.items()], len(instances), pulled, progress)
    return pulled


def _matching(archive: Archive, query: Query) -> tuple[list[Instance], int]:
    """The instances of series that match, and how many series are results of ours."""
    studies = [answer for answer in archive.search("STUDY", [query.study_keys()]) if query.wants_study(answer)]
    series = archive.search("SERIES", [query.series_keys(answer["StudyInstanceUID"]) for answer in studies])
    wanted = [answer for answer in series if query.wants_series(answer)]
    input_series = [answer for answer in wanted if not answer["SeriesDescription"].startswith(WARNING)]
    keys = [{"StudyInstanceUID": one["StudyInstanceUID"], "SeriesInstanceUID": one["SeriesInstanceUID"],
             "SOPInstanceUID": "", "SOPClassUID": ""} for one in input_series]  # fmt: skip
    found = {one["SOPInstanceUID"]: Instance(one["StudyInstanceUID"], one["SeriesInstanceUID"], one["SOPInstanceUID"])
             for one in archive.search("IMAGE", keys) if one["SOPClassUID"] in ("", *CLASSES)}  # fmt: skip
    return list(found.values()), len(wanted) - len(input_series)


def push(archive: Archive, paths: Sequence[Path | str], *, progress: Progress = LOG.info) -> Pushed:
    """Store DICOM files, and those in folders, in an archive. What it has already is not sent again.

    Raises
    ------
    InputError
        If there is nothing to send, or nothing could be stored.
    PartlyDone
        If some instances could not be stored.
    """
    there, failures = _readable([Path(path) for path in paths])
    held = _held(archive, there, progress)
    missing = [one for one in there if one.instance.uid not in held]
    before, count = len(there) - len(missing), len(there) + len(failures)
    progress(f"{count} instances, {before} of them are in the archive")
    pace, new = _Pace(len(missing), progress), 0
    for one, reason in archive.store(missing) if missing else ():
        if reason:
            failures.append(f"{one.path}: {reason}")
        else:
            new += 1
        pace.step()
    pushed = Pushed(new, before)
    _raise_failures(failures, count, pushed, progress)
    return pushed


def _readable(paths: Sequence[Path]) -> tuple[list[StoredFile], list[str]]:
    """Files that can be sent, each SOP instance once; and what is wrong with the others."""
    found: dict[str, StoredFile] = {}
    failures = []
    every = [path for given in paths for path in (find_files(given) if given.is_dir() else [given])]
    if not every:
        raise InputError("no DICOM file in these folders", where=", ".join(map(str, paths)))
    for path in every:
        try:
            one = _stored_file(path)
            found.setdefault(one.instance.uid, one)
        except InputError as problem:
            failures.append(str(problem))
    return list(found.values()), failures


def _stored_file(path: Path) -> StoredFile:
    with unquoted():
        header: Any = read_header(path)
        study, series, uid, kind = (
            str(header.get(keyword) or "")
            for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")
        )
        syntax = str(header.file_meta.get("TransferSyntaxUID") or "")
    if not (study and series and uid and syntax):
        raise InputError("lacks a UID or its transfer syntax", where=str(path), remedy="Export it as DICOM Part 10")
    return StoredFile(path, Instance(study, series, uid), kind, syntax)


def _held(archive: Archive, there: Sequence[StoredFile], progress: Progress) -> set[str]:
    """SOP Instance UIDs of these series that the archive has; none where it answers no queries."""
    series = dict.fromkeys((one.instance.study, one.instance.series) for one in there)
    keys = [{"StudyInstanceUID": study, "SeriesInstanceUID": number, "SOPInstanceUID": ""} for study, number in series]
    try:
        return {answer["SOPInstanceUID"] for answer in archive.search("IMAGE", keys)}
    except NotOffered as problem:
        progress(f"warning: {problem.what}: what the archive has is not known, everything is sent")
        return set()


class _Pace:
    """A line every few seconds: how many are done, and the time left."""

    def __init__(self, count: int, progress: Progress) -> None:
        self.count, self.progress, self.done = count, progress, 0
        self.started = self.told = time.monotonic()

    def step(self) -> None:
        self.done += 1
        now = time.monotonic()
        if now - self.told >= SECONDS_BETWEEN_LINES:
            self.told = now
            left = (now - self.started) / self.done * (self.count - self.done)
            self.progress(f"{self.done}/{self.count} instances, {left:.0f} s left")


def _raise_failures(failures: Sequence[str], count: int, done: Pulled | Pushed, progress: Progress) -> None:
    if not failures:
        return
    for failure in failures:
        progress(f"FAILED {failure}")
    what = f"{len(failures)} of {count} instances failed, first {failures[0]}"
    if done.new + done.before == 0:
        raise InputError(what, remedy="The same command tries again")
    raise PartlyDone(what, done=[done], remedy="The others are done; the same command tries these again")

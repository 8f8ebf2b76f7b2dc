"""Many scans of any format to NIfTI, HDF5, DICOM and previews.

One model load, no bad case spoils the others, a re-run resumes. Nothing written or said names a patient; only derived
DICOM carries the identity of its source.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from ambient_mri import files as disk
from ambient_mri.data.readers.magnitude import Missing
from ambient_mri.errors import InputError, PartlyDone
from ambient_mri.reconstruction import layout as layouts
from ambient_mri.reconstruction import outputs
from ambient_mri.reconstruction.cases import Case, find_cases
from ambient_mri.reconstruction.cluster import connected, spread
from ambient_mri.reconstruction.export.dicom import holds_series_only
from ambient_mri.reconstruction.job import Asked, Job
from ambient_mri.reconstruction.manifest import Entry, Failure, path_sha256
from ambient_mri.reconstruction.methods import default_method
from ambient_mri.reconstruction.pace import Pace
from ambient_mri.reconstruction.products import Choices

if TYPE_CHECKING:
    from ambient_mri.reconstruction.posterior import Sampling

LOG = logging.getLogger(__name__)
NAMED_BY_RESEARCHERS = (".h5", ".hdf5", ".mrd", ".cfl", ".hdr", ".nii", ".nii.gz", ".img")
Outcomes = Iterator[tuple[Case, Entry | Failure]]


@dataclass(frozen=True)
class Result:
    """What became of one case.

    Parameters
    ----------
    source
        Its file, or the first of them.
    outputs
        What was written, the preview last.
    skipped
        Whether all of it was already there.
    warnings
        What a reader of the images should know: where the scan differs from what the model learned from.
    flags
        Figures of quality that are out of bounds, a sentence each.
    """

    source: Path
    outputs: tuple[Path, ...]
    slices: int
    seconds: float
    skipped: bool
    warnings: tuple[str, ...]
    flags: tuple[str, ...] = ()

    def __str__(self) -> str:
        what = "already done" if self.skipped else f"{self.slices} slices, {self.seconds:.1f} s"
        return f"{self.outputs[0]} ({what})"


def reconstruct(
    bundle_path: Path | str | None,
    files: Sequence[Path | str],
    out: Path | str,
    *,
    method: str | None = None,
    device: str = "cpu",
    strength: float | None = None,
    sampling: Sampling | None = None,
    formats: Sequence[str] = ("nifti", "hdf5"),
    missing: Missing | None = None,
    fail_fast: bool = False,
    cluster: str | None = None,
    max_memory: int | None = None,
    layout: str = "flat",
    progress: Callable[[str], None] = LOG.info,
) -> list[Result]:
    """Reconstruct undersampled k-space and restore damaged images into `out`: `outputs.names`, and `manifest.json`.

    `report.write_gallery` makes a page of it.

    Parameters
    ----------
    bundle_path
        The trained model; read where a network is needed.
    files
        fastMRI, MRD, BART, DICOM or NIfTI files, and folders of DICOM.
    method
        Of `methods.METHODS`, `methods.ITERATED`, or a posterior sampler of `methods.POSTERIOR`: then the images are
        means, and standard deviations are written beside those of k-space. None: `methods.default_method`.
    strength
        Of the method; None: the bundle's for one-step, for classical ones `estimates.default_strength` of the noise.
    sampling
        How posterior samplers draw.
    formats
        Of "dicom", "nifti" and "hdf5".
    missing
        Which pixels of images are missing; its mask file is also what was measured for BART's k-space.
    fail_fast
        Stop at the first case that fails.
    cluster
        Dask's scheduler or a Slurm profile, see `cluster.connected`; None: this process does it all.
    max_memory
        Bytes that a process may hold: slices and samples are worked on in batches that fit.
    layout
        "flat", or "bids" for a BIDS derivative in `out/derivatives/ambient-mri`.
    progress
        Called with one line a case: what became of it, and the time left; and now and then within a long one.

    Raises
    ------
    InputError
        Before anything is done: if the bundle cannot be used or two cases share a name. At the end: if any
        case failed, with what was wrong with each; what the others gave is kept (`PartlyDone`).
    """
    method = default_method(bundle_path) if method is None else method
    choices = Choices(method, device, strength, outputs.checked(formats), max_memory)
    missing, inputs, folder = missing or Missing(), [Path(file) for file in files], layouts.folder_of(Path(out), layout)
    if cluster is not None:  # workers may run in another folder
        inputs, folder = [path.absolute() for path in inputs], folder.absolute()
        bundle_path = None if bundle_path is None else Path(bundle_path).absolute()
        missing = missing if missing.mask is None else replace(missing, mask=missing.mask.absolute())
    cases, problems = find_cases(inputs, missing.mask)
    domains = frozenset(case.domain for case in cases)
    asked = Asked(bundle_path, folder, choices, missing, domains, sampling, layout)
    job, pace = Job(asked), Pace(sum(case.pixels for case in cases), progress)
    _refuse_harm(job, cases)
    disk.clear_unfinished(folder)
    if layout == "bids":
        layouts.describe_dataset(folder)
    job.manifest.begin(inputs)
    count = len(cases) + len(problems)
    results: list[Result] = []
    failures: list[str] = []

    def failed(failure: Failure, path: Path, label: str) -> None:
        failures.append(failure.sentence)
        given, reason = next((one for one in inputs if one == path or one in path.parents), path), failure.reason
        for said in (path, os.path.realpath(path), path.parent, os.path.realpath(path.parent)):
            reason = reason.replace(str(said), label)
        job.manifest.fail(given, label, reason)
        progress(f"{len(results) + len(failures)}/{count} FAILED {failure.sentence}")
        if fail_fast:
            raise InputError(failure.sentence, remedy="Stopped at the first failure, as asked")

    for problem in problems:
        path = Path(problem.where.partition(": ")[0])
        failed(Failure.of(problem, path), path, _label(path))
    outcomes = _here(job, cases, pace) if cluster is None else _elsewhere(cluster, asked, job, cases, pace, progress)
    for case, outcome in outcomes:
        if isinstance(outcome, Failure):
            failed(outcome, case.path, case.label)
            continue
        result = _told(job, case, outcome)
        results.append(result)
        for warning in result.warnings:
            progress(f"warning: {case.path}: {warning}")
        for flag in result.flags:
            progress(f"check: {case.path}: {flag}")
        progress(f"{len(results) + len(failures)}/{count} {result}{pace.left()}")
    if failures:
        what = f"{len(failures)} of {count} cases failed: {'; '.join(failures)}"
        if not results:
            raise InputError(what, remedy="The same command tries again")
        remedy = f"The others are in {out}; the same command tries again those that failed"
        raise PartlyDone(what, done=results, remedy=remedy)
    return results


def _refuse_harm(job: Job, cases: Sequence[Case]) -> None:
    """Nothing, unless a result would take the place of a scan, or of a folder that is none of ours."""
    inputs = {os.path.realpath(path) for case in cases for path in case.paths}
    for case in cases:
        for name in job.names(case):
            path = job.out / name
            target = os.path.realpath(path)
            if target in inputs or any(one.startswith(target + os.sep) for one in inputs):
                raise InputError("a result would take the place of a scan", where=str(path),
                                 remedy="Choose another --out")  # fmt: skip
            if path.is_dir() and not holds_series_only(path):
                raise InputError("a result would take the place of a folder that holds something else",
                                 where=str(path), remedy="Choose another --out")  # fmt: skip


def _label(path: Path) -> str:
    """What an input that cannot be read is called in the manifest; exports of DICOM are often named after patients."""
    return path.name if path.name.lower().endswith(NAMED_BY_RESEARCHERS) else f"input-{path_sha256(path)}"


def _told(job: Job, case: Case, entry: Entry) -> Result:
    """What is told of an entry; a new one goes into the manifest."""
    skipped = job.manifest.entries.get(case.name) is entry
    if not skipped:
        job.manifest.record(case.name, entry)
    paths, said = tuple(job.out / name for name in entry["outputs"]), (entry["warnings"], entry.get("flags", ()))
    return Result(case.path, paths, entry["slices"], float(entry["seconds"]), skipped, *map(tuple, said))


def _here(job: Job, cases: Sequence[Case], pace: Pace) -> Outcomes:
    """What became of each case, in this process."""
    for case in cases:
        pace.begin(case.label, case.pixels, len(case.volume))
        known = job.manifest.entries.get(case.name)
        outcome = job.attempt(case, pace.advanced)
        pace.end(worked=not isinstance(outcome, Failure) and outcome is not known)
        yield case, outcome


def _elsewhere(
    address: str, asked: Asked, job: Job, cases: Sequence[Case], pace: Pace, progress: Callable[[str], None]
) -> Outcomes:
    """What became of each case, on the workers of a cluster; what is done already is not sent there."""
    left = []
    for case in cases:
        entry = job.done(case)
        if entry is None:
            left.append(case)
        else:
            pace.arrived(case.pixels, worked=False)
            yield case, entry
    if left:
        work = partial(_on_worker, asked, str(job.settings["bundle_sha256"]))
        with connected(address) as cluster:
            for case, outcome in spread(cluster, work, left, progress):
                pace.arrived(case.pixels, worked=not isinstance(outcome, Failure))
                yield case, outcome


@lru_cache(maxsize=1)
def _shared(asked: Asked, weights: str) -> Job:
    """The job of a worker: weights trained anew under the same name are another job."""
    job = Job(asked)
    if job.settings["bundle_sha256"] != weights:
        raise InputError(
            "a worker finds another model here", where=str(asked.bundle_path), remedy="Use a shared file system"
        )
    return job


_LOADING = Lock()


def _on_worker(asked: Asked, weights: str, case: Case) -> Entry | Failure:
    """One case in a process that is a worker: it loads the model for its first case of a batch."""
    with _LOADING:
        job = _shared(asked, weights)
    return job.attempt(case)

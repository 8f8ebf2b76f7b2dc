"""Many scans of any format to NIfTI, HDF5, DICOM and previews.

One model load, no bad case spoils the others, a re-run resumes. Nothing written or said names a patient; only derived
DICOM carries the identity of its source.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np

import ambient_mri
from ambient_mri.data.readers.magnitude import Missing
from ambient_mri.errors import InputError, PartlyDone
from ambient_mri.files import is_disk_full
from ambient_mri.reconstruction import methods, outputs
from ambient_mri.reconstruction.calibration import load_calibration
from ambient_mri.reconstruction.cases import Case, find_cases
from ambient_mri.reconstruction.cluster import Entry, connected, local_device, spread
from ambient_mri.reconstruction.evaluate import weights_sha256
from ambient_mri.reconstruction.export.dicom import Derivation
from ambient_mri.reconstruction.manifest import Manifest, content_sha256, settings_key
from ambient_mri.reconstruction.products import Choices, Made, reconstructed_kspace, restored_images

if TYPE_CHECKING:
    from ambient_mri.reconstruction.posterior import Sampling

LOG = logging.getLogger(__name__)


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
        What a reader of the images should know.
    """

    source: Path
    outputs: tuple[Path, ...]
    slices: int
    seconds: float
    skipped: bool
    warnings: tuple[str, ...]

    def __str__(self) -> str:
        what = "already done" if self.skipped else f"{self.slices} slices, {self.seconds:.1f} s"
        return f"{self.outputs[0]} ({what})"


def reconstruct(
    bundle_path: Path | str | None,
    files: Sequence[Path | str],
    out: Path | str,
    *,
    method: str = "one-step",
    device: str = "cpu",
    strength: float | None = None,
    sampling: Sampling | None = None,
    formats: Sequence[str] = ("nifti", "hdf5"),
    missing: Missing | None = None,
    fail_fast: bool = False,
    cluster: str | None = None,
    progress: Callable[[str], None] = LOG.info,
) -> list[Result]:
    """Reconstruct undersampled k-space and restore damaged images into `out`: `outputs.names`, and `manifest.json`.

    Parameters
    ----------
    bundle_path
        The trained model; read where a network is needed.
    files
        fastMRI, MRD, BART, DICOM or NIfTI files, and folders of DICOM.
    method
        "one-step", "one-step-tv", "zero-filled", "cg-sense", "l1-wavelet", "tv", "biharmonic", or a posterior sampler
        of `methods.POSTERIOR`: then the images are means, and standard deviations are written beside those of k-space.
    strength
        Of the method; None: the bundle's for one-step, for classical ones `methods.default_strength` of the noise.
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
    progress
        Called with one line a case: what became of it, and the time left.

    Raises
    ------
    InputError
        Before anything is done: if the bundle cannot be used or two cases share a name. At the end: if any
        case failed, with what was wrong with each; what the others gave is kept (`PartlyDone`).
    """
    choices, missing = Choices(device, strength, outputs.checked(formats), None), missing or Missing()
    paths, out = [Path(file) for file in files], Path(out)
    if cluster is not None:  # workers may run in another folder
        paths, out = [path.absolute() for path in paths], out.absolute()
        bundle_path = None if bundle_path is None else Path(bundle_path).absolute()
        missing = missing if missing.mask is None else replace(missing, mask=missing.mask.absolute())
    cases, problems = find_cases(paths, missing.mask)
    given = (bundle_path, out, method, choices, missing, frozenset(case.domain for case in cases), sampling)
    job = _Job(*given)
    count, started = len(cases) + len(problems), time.perf_counter()
    results: list[Result] = []
    failures: list[str] = []

    def failed(sentence: str) -> None:
        failures.append(sentence)
        progress(f"{len(results) + len(failures)}/{count} FAILED {sentence}")
        if fail_fast:
            raise InputError(sentence, remedy="Stopped at the first failure, as asked")

    for problem in problems:
        failed(str(problem))
    outcomes = _here(job, cases) if cluster is None else _elsewhere(cluster, job, given, cases, progress)
    for case, outcome in outcomes:
        if isinstance(outcome, str):
            failed(outcome)
            continue
        result = job.result(case, outcome)
        results.append(result)
        for warning in result.warnings:
            progress(f"warning: {case.path}: {warning}")
        done = len(results) + len(failures)
        left = (time.perf_counter() - started) / done * (count - done)
        progress(f"{done}/{count} {result}, {left:.0f} s left")
    if failures:
        what = f"{len(failures)} of {count} cases failed: {'; '.join(failures)}"
        if not results:
            raise InputError(what, remedy="The same command tries again")
        remedy = f"The others are in {out}; the same command tries again those that failed"
        raise PartlyDone(what, done=results, remedy=remedy)
    return results


def _here(job: _Job, cases: Sequence[Case]) -> Iterator[tuple[Case, Entry | str]]:
    """What became of each case, in this process."""
    for case in cases:
        yield case, job.attempt(case)


def _elsewhere(
    address: str, job: _Job, given: tuple[Any, ...], cases: Sequence[Case], progress: Callable[[str], None]
) -> Iterator[tuple[Case, Entry | str]]:
    """What became of each case, on the workers of a cluster; what is done already is not sent there."""
    left = []
    for case in cases:
        entry = job.done(case)
        if entry is None:
            left.append(case)
        else:
            yield case, entry
    if left:
        with connected(address, progress) as client:
            yield from spread(client, partial(_on_worker, given, str(job.settings["bundle_sha256"])), left)


@lru_cache(maxsize=1)
def _shared(given: tuple[Any, ...], weights: str) -> _Job:
    """The job of a worker: weights trained anew under the same name are another job."""
    job = _Job(*given)
    if job.settings["bundle_sha256"] != weights:
        raise InputError("a worker finds another model here", where=str(given[0]), remedy="Use a shared file system")
    return job


_LOADING = Lock()


def _on_worker(given: tuple[Any, ...], weights: str, case: Case) -> Entry | str:
    """One case in a process that is a worker: it loads the model for its first case of a batch."""
    with _LOADING:
        job = _shared(given, weights)
    return job.attempt(case)


class _Job:
    """Everything that the cases of a batch share."""

    def __init__(
        self, bundle_path: Path | str | None, out: Path, method: str, choices: Choices, missing: Missing,
        domains: frozenset[str], sampling: Sampling | None,
    ) -> None:  # fmt: skip
        """Load the model, and refuse what no case could use."""
        choices = replace(choices, device=local_device(choices.device))
        if domains == {"kspace"} and not methods.applies(method, "kspace"):
            raise InputError(f"{method} does not reconstruct k-space", where="method", remedy="Choose one-step or tv")
        bundle, weights = None, ""
        if methods.needs_network(method):
            bundle = methods.load(bundle_path, choices.device, *(domains if len(domains) == 1 else ()))
            weights = weights_sha256(bundle.path)
            calibration = load_calibration(bundle.path, weights) if method in methods.POSTERIOR else None
            choices = replace(choices, card=bundle.card, calibration=calibration)
        self.out, self.method, self.choices, self.missing = out, method, choices, missing
        self.settings = {
            "method": method,
            "strength": choices.strength,
            "bundle_sha256": weights,
            "version": ambient_mri.__version__,
        }
        if method in methods.POSTERIOR and sampling is not None:
            self.settings |= {"samples": sampling.samples, "nfe": sampling.nfe, "time_budget": sampling.seconds,
                              "seed": sampling.seed}  # fmt: skip
        if choices.calibration is not None:
            self.settings["calibrated_on"] = choices.calibration.data
            self.settings["calibration_factor"] = choices.calibration.factor
        self._run = methods.reconstruction(method, bundle, sampling)
        self._several = method in methods.POSTERIOR and (sampling is None or sampling.samples > 1)
        self._manifest = Manifest(out)

    def attempt(self, case: Case) -> Entry | str:
        """Its entry in the manifest, from before or new; or what failed, in a sentence."""
        try:
            return self.done(case) or self._made_and_written(case)
        except Exception as problem:
            if is_disk_full(problem):  # no other case would fare better
                raise
            LOG.debug("%s failed", case.path, exc_info=True)
            expected = isinstance(problem, InputError | OSError)
            # what an unexpected exception says may quote a header
            return str(problem) if expected else f"{case.path}: unexpected {type(problem).__name__}"

    def done(self, case: Case) -> Entry | None:
        """Its entry of the manifest, if it is done."""
        if case.name not in self._manifest.entries:
            return None
        entry = self._manifest.done(case.name, self._key(case.sha256()))
        return None if entry is None else dict(entry)

    def result(self, case: Case, entry: Entry) -> Result:
        """What is told of an entry; a new one goes into the manifest."""
        skipped = self._manifest.entries.get(case.name) == entry
        if not skipped:
            self._manifest.record(case.name, entry)
        paths = tuple(self.out / name for name in entry["outputs"])
        return Result(case.path, paths, entry["slices"], float(entry["seconds"]), skipped, tuple(entry["warnings"]))

    def _key(self, source_sha256: str) -> str:
        asked = {"formats": self.choices.formats, "missing": _said(self.missing)}
        return settings_key({**self.settings, **asked, "source_sha256": source_sha256})

    def _made_and_written(self, case: Case) -> Entry:
        """One case, from its files to its outputs."""
        started = time.perf_counter()
        volume, restored = case.volume, case.domain == "image"
        source_sha256 = case.sha256()
        names = outputs.names(
            case.name, self.choices.formats, restored=restored, sampled=self._several and not restored
        )
        card = self.choices.card
        if not methods.applies(self.method, case.domain):
            raise InputError(f"{self.method} does not apply to {case.domain} data", where=str(case.path))
        if card is not None and card.acquisition.domain != case.domain:
            raise InputError("the model was trained on data of another kind", where=str(case.path),
                             remedy="Give images and k-space to models of their own")  # fmt: skip
        product, about, warnings = self._made(case)
        if not np.isfinite(product.image).all():
            raise InputError("the images hold NaN or infinity", where=str(case.path), remedy="Try --method tv")
        facts = {
            **{name: value for name, value in self.settings.items() if value is not None},
            "source": case.label,
            "source_sha256": source_sha256,
            **about,
            "warnings": "\n".join(warnings),
            "model_trained_on": "" if card is None else card.data,
            "model_trained_on_simulated_scans": card is not None and card.simulated,
            "content_qualification": "RESEARCH: not for diagnostic use",
        }
        derivation = Derivation(
            _made_how(restored, about), self.method,
            input_sha256=source_sha256, model_sha256=str(self.settings["bundle_sha256"]),
            mask_sha256=about["mask_sha256"], acceleration=about["acceleration"], strength=self.choices.strength,
        )  # fmt: skip
        outputs.write(self.out, case.name, product, self.choices.formats, facts, derivation)
        seconds = time.perf_counter() - started
        record = {"key": self._key(source_sha256), **facts, "warnings": list(warnings), "outputs": list(names)}
        return {**record, "slices": len(volume), "seconds": round(seconds, 3)}

    def _made(self, case: Case) -> Made:
        if case.domain == "kspace":
            return reconstructed_kspace(case.volume, self._run, self.choices)  # type: ignore[arg-type] # by its domain
        return restored_images(case.volume, self._run, self.choices, self.missing)  # type: ignore[arg-type]


def _made_how(restored: bool, about: Mapping[str, Any]) -> str:
    """For the description of DICOM."""
    if restored:
        return "Missing pixels restored"
    what = "Reconstructed from undersampled k-space"
    if "deviation_calibrated" not in about:
        return what
    told = f"calibrated (factor {about['deviation_factor']:.3f})" if about["deviation_calibrated"] else "not calibrated"
    return f"{what}; standard deviations {told}"


def _said(missing: Missing) -> str:
    """What says which pixels are missing, as a hash."""
    if missing.mask is None:
        return hashlib.sha256(f"value {missing.value}".encode()).hexdigest()
    files = sorted(p for p in missing.mask.rglob("*") if p.is_file()) if missing.mask.is_dir() else [missing.mask]
    return hashlib.sha256("".join(content_sha256(path) for path in files).encode()).hexdigest()

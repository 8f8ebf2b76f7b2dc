"""Many scans of any format to NIfTI, HDF5, DICOM and previews.

One model load, no bad case spoils the others, a re-run resumes. Nothing written or said names a patient; only derived
DICOM carries the identity of its source.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import ambient_mri
from ambient_mri import files as disk
from ambient_mri.data.readers.magnitude import Missing
from ambient_mri.errors import InputError, PartlyDone
from ambient_mri.reconstruction import layout as layouts
from ambient_mri.reconstruction import methods, outputs
from ambient_mri.reconstruction.cases import Case, find_cases
from ambient_mri.reconstruction.evaluate import weights_sha256
from ambient_mri.reconstruction.export.dicom import Derivation
from ambient_mri.reconstruction.manifest import Manifest, content_sha256, settings_key
from ambient_mri.reconstruction.pace import Pace
from ambient_mri.reconstruction.products import Choices, Made, reconstructed_kspace, restored_images

if TYPE_CHECKING:
    from ambient_mri.data.readers.kspace import KspaceVolume
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
    method: str = "one-step",
    device: str = "cpu",
    strength: float | None = None,
    sampling: Sampling | None = None,
    formats: Sequence[str] = ("nifti", "hdf5"),
    missing: Missing | None = None,
    fail_fast: bool = False,
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
    max_memory
        Bytes that this process may hold: slices and samples are worked on in batches that fit.
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
    choices = Choices(device, strength, outputs.checked(formats), None, max_memory, method)
    missing, inputs, folder = missing or Missing(), [Path(file) for file in files], layouts.folder_of(Path(out), layout)
    cases, problems = find_cases(inputs, missing.mask)
    pace = Pace(sum(case.pixels for case in cases), progress)
    job = _Job(bundle_path, folder, method, choices, missing, {case.domain for case in cases}, sampling, layout, pace)
    job.manifest.begin(inputs)
    count = len(cases) + len(problems)
    results: list[Result] = []
    failures: list[str] = []

    def failed(sentence: str, path: Path, label: str, reason: str) -> None:
        failures.append(sentence)
        given = next((one for one in inputs if one == path or one in path.parents), path)
        for said in (path, path.resolve(), path.parent, path.parent.resolve()):
            reason = reason.replace(str(said), label)
        job.manifest.fail(given, label, reason)
        progress(f"{len(results) + len(failures)}/{count} FAILED {sentence}")
        if fail_fast:
            raise InputError(sentence, remedy="Stopped at the first failure, as asked")

    for problem in problems:
        path = Path(problem.where.partition(": ")[0])
        failed(str(problem), path, path.name, _reason(problem))
    for case in cases:
        pace.begin(case.label, case.pixels, len(case.volume))
        try:
            result = job.run(case)
        except Exception as problem:
            if disk.is_disk_full(problem):  # no other case would fare better
                raise
            pace.end(worked=False)
            LOG.debug("%s failed", case.path, exc_info=True)
            expected = isinstance(problem, InputError | OSError)
            # what an unexpected exception says may quote a header
            sentence = str(problem) if expected else f"{case.path}: unexpected {type(problem).__name__}"
            failed(sentence, case.path, case.label, _reason(problem))
            continue
        pace.end(worked=not result.skipped)
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


class _Job:
    """Everything that the cases of a batch share."""

    def __init__(
        self, bundle_path: Path | str | None, out: Path, method: str, choices: Choices, missing: Missing,
        domains: set[str], sampling: Sampling | None, layout: str, pace: Pace,
    ) -> None:  # fmt: skip
        """Load the model, and refuse what no case could use."""
        if domains == {"kspace"} and not methods.applies(method, "kspace"):
            raise InputError(f"{method} does not reconstruct k-space", where="method", remedy="Choose one-step or tv")
        bundle, weights = None, ""
        if methods.needs_network(method):
            bundle = methods.load(bundle_path, choices.device, *(domains if len(domains) == 1 else ()))
            weights = weights_sha256(bundle.path)
            choices = replace(choices, card=bundle.card)
        self.out, self.method, self.choices, self.missing = out, method, choices, missing
        self.layout, self.pace = layout, pace
        self.settings = {
            "method": method,
            "strength": choices.strength,
            "bundle_sha256": weights,
            "version": ambient_mri.__version__,
        }
        if method in methods.POSTERIOR and sampling is not None:
            self.settings |= {"samples": sampling.samples, "nfe": sampling.nfe, "time_budget": sampling.seconds,
                              "seed": sampling.seed}  # fmt: skip
        self._run = methods.reconstruction(method, bundle, sampling)
        self._several = method in methods.POSTERIOR and (sampling is None or sampling.samples > 1)
        disk.clear_unfinished(out)
        self.manifest = Manifest(out)
        if layout == "bids":
            layouts.describe_dataset(out)

    def run(self, case: Case) -> Result:
        """One case, from its files to its outputs."""
        started = time.perf_counter()
        volume, restored = case.volume, case.domain == "image"
        source_sha256 = case.sha256()
        asked = {"formats": self.choices.formats, "missing": _said(self.missing)}
        key = settings_key({**self.settings, **asked, "source_sha256": source_sha256})
        place = layouts.bids(case.name, case.contrast) if self.layout == "bids" else layouts.flat(case.name)
        names = outputs.names(
            case.name, self.choices.formats, restored=restored, sampled=self._several and not restored, place=place
        )
        paths = tuple(self.out / name for name in names)
        entry = self.manifest.done(case.name, key)
        if entry is not None:
            said = tuple(entry["warnings"]), tuple(entry.get("flags", ()))
            return Result(case.path, paths, len(volume), float(entry["seconds"]), True, *said)
        card = self.choices.card
        if not methods.applies(self.method, case.domain):
            raise InputError(f"{self.method} does not apply to {case.domain} data", where=str(case.path))
        if card is not None and card.acquisition.domain != case.domain:
            raise InputError("the model was trained on data of another kind", where=str(case.path),
                             remedy="Give images and k-space to models of their own")  # fmt: skip
        product, about, warnings, quality = self._made(case)
        flags = quality.flags()
        if not np.isfinite(product.image).all():
            raise InputError("the images hold NaN or infinity", where=str(case.path), remedy="Try --method tv")
        facts = {
            **{name: value for name, value in self.settings.items() if value is not None},
            "source": case.label,
            "source_sha256": source_sha256,
            **about,
            "warnings": "\n".join(warnings),
            "flags": "\n".join(flags),
            "model_trained_on": "" if card is None else card.data,
            "model_trained_on_simulated_scans": card is not None and card.simulated,
            "content_qualification": "RESEARCH: not for diagnostic use",
        }
        derivation = Derivation(
            "Missing pixels restored" if restored else "Reconstructed from undersampled k-space", self.method,
            input_sha256=source_sha256, model_sha256=str(self.settings["bundle_sha256"]),
            mask_sha256=about["mask_sha256"], acceleration=about["acceleration"], strength=self.choices.strength,
        )  # fmt: skip
        outputs.write(self.out, case.name, product, self.choices.formats, facts, derivation, place)
        if self.layout == "bids":
            layouts.describe_images(self.out, [name for name in names if name.endswith(".nii.gz")], facts)
        pictures = outputs.write_pictures(self.out, case.name, product)
        seconds = time.perf_counter() - started
        record = {
            "key": key, **facts, "warnings": list(warnings), "flags": list(flags), "quality": quality.facts(),
            "outputs": list(names), "slices": len(volume), "matrix": list(product.image.shape[1:]),
            "pictures": pictures,
        }  # fmt: skip
        self.manifest.record(case.name, {**record, "seconds": round(seconds, 3)})
        return Result(case.path, paths, len(volume), seconds, False, warnings, flags)

    def _made(self, case: Case) -> Made:
        case = case.opened()
        if case.domain == "kspace":
            kspace: KspaceVolume = case.volume  # type: ignore[assignment] # by its domain
            return reconstructed_kspace(kspace, self._run, self.choices, self.pace.advanced)
        return restored_images(case.volume, self._run, self.choices, self.missing)  # type: ignore[arg-type]


def _reason(problem: Exception) -> str:
    """For the manifest and the page: what is wrong and what to do, without the place."""
    if isinstance(problem, InputError):
        return f"{problem.what}. {problem.remedy}" if problem.remedy else problem.what
    return disk.reason(problem) if isinstance(problem, OSError) else f"unexpected {type(problem).__name__}"


def _said(missing: Missing) -> str:
    """What says which pixels are missing, as a hash."""
    if missing.mask is None:
        return hashlib.sha256(f"value {missing.value}".encode()).hexdigest()
    files = sorted(p for p in missing.mask.rglob("*") if p.is_file()) if missing.mask.is_dir() else [missing.mask]
    return hashlib.sha256("".join(content_sha256(path) for path in files).encode()).hexdigest()

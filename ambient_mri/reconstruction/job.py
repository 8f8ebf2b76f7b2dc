"""One case of a batch, from its files to its outputs and its entry in the manifest.

A job holds what the cases share, the model first of all. It is the same in the process that was asked and in a worker
of a cluster; only the former changes the manifest.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import ambient_mri
from ambient_mri import files as disk
from ambient_mri.data.readers.content import files_of
from ambient_mri.data.readers.magnitude import Missing
from ambient_mri.errors import InputError
from ambient_mri.prior.bundle import weights_sha256
from ambient_mri.reconstruction import layout as layouts
from ambient_mri.reconstruction import methods, outputs
from ambient_mri.reconstruction.calibration import load_calibration
from ambient_mri.reconstruction.cases import Case
from ambient_mri.reconstruction.cluster import local_device
from ambient_mri.reconstruction.export.dicom import Derivation
from ambient_mri.reconstruction.manifest import Entry, Failure, Manifest, content_sha256, settings_key
from ambient_mri.reconstruction.posterior import Posterior, Sampling
from ambient_mri.reconstruction.products import Choices, Made, reconstructed_kspace, restored_images
from ambient_mri.sampling.proper import knows

if TYPE_CHECKING:
    from ambient_mri.data.readers.kspace import KspaceVolume

LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asked:
    """What a user asked for; travels to the workers of a cluster.

    Parameters
    ----------
    out
        Folder of the outputs and of the manifest.
    domains
        Of the cases: "kspace", "image".
    layout
        "flat" or "bids".
    """

    bundle_path: Path | str | None
    out: Path
    choices: Choices
    missing: Missing
    domains: frozenset[str]
    sampling: Sampling | None
    layout: str


class Job:
    """Everything that the cases of a batch share.

    Raises
    ------
    InputError
        If the model cannot be used, or no case could use the method.
    """

    def __init__(self, asked: Asked) -> None:
        choices, method = replace(asked.choices, device=local_device(asked.choices.device)), asked.choices.method
        if asked.domains == {"kspace"} and not methods.applies(method, "kspace"):
            raise InputError(f"{method} does not reconstruct k-space", where="method", remedy="Choose one-step or tv")
        bundle, weights = None, ""
        if methods.needs_network(method):
            only = tuple(asked.domains) if len(asked.domains) == 1 else ()
            bundle = methods.load(asked.bundle_path, choices.device, *only)
            weights = weights_sha256(bundle.path)
            spread = method in methods.POSTERIOR and bundle.card.acquisition.domain == "kspace"
            calibration = load_calibration(bundle.path, weights) if spread else None  # restored pixels have no spread
            choices = replace(choices, card=bundle.card, calibration=calibration)
        self.out, self.method, self.choices, self.missing = asked.out, method, choices, asked.missing
        self.layout, self.manifest = asked.layout, Manifest(asked.out)
        self.settings = _settings(choices, weights, asked.sampling)
        self._run = methods.reconstruction(method, bundle, asked.sampling)
        self._several = method in methods.POSTERIOR and (asked.sampling is None or asked.sampling.samples > 1)

    def attempt(self, case: Case, advanced: Callable[[int], None] = lambda slices: None) -> Entry | Failure:
        """Its entry in the manifest, from before or new; or what failed.

        Parameters
        ----------
        advanced
            Called with how many slices are done.
        """
        try:
            return self.done(case) or self._made_and_written(case, advanced)
        except Exception as problem:
            if disk.is_disk_full(problem):  # no other case would fare better
                raise
            LOG.debug("%s failed", case.path, exc_info=True)
            return Failure.of(problem, case.path)

    def done(self, case: Case) -> Entry | None:
        """The very entry of the manifest, if it is done: work done again may give an equal one.

        Raises
        ------
        InputError
            If another scan was written under its name.
        """
        if case.name not in self.manifest.entries:
            return None
        content = case.sha256()
        self.manifest.refuse_another(case.name, case.origin, content)
        return self.manifest.done(case.name, self._key(content))

    def names(self, case: Case) -> tuple[str, ...]:
        """What is written of a case, relative to the output folder; the preview comes last."""
        restored = case.domain == "image"
        return outputs.names(case.name, self.choices.formats, restored=restored,
                             sampled=self._several and not restored, place=self._place(case))  # fmt: skip

    def _place(self, case: Case) -> layouts.Place:
        return layouts.bids(case.name, case.contrast) if self.layout == "bids" else layouts.flat(case.name)

    def _key(self, source_sha256: str) -> str:
        asked = {"formats": self.choices.formats, "missing": _said(self.missing)}
        return settings_key({**self.settings, **asked, "source_sha256": source_sha256})

    def _made_and_written(self, case: Case, advanced: Callable[[int], None]) -> Entry:
        started = time.perf_counter()
        restored, source_sha256, names = case.domain == "image", case.sha256(), self.names(case)
        card = self.choices.card
        if not methods.applies(self.method, case.domain):
            raise InputError(f"{self.method} does not apply to {case.domain} data", where=str(case.path))
        if card is not None and not knows(card, case.domain):
            raise InputError("the model was trained on data of another kind", where=str(case.path),
                             remedy="Give images and k-space to models of their own, or to a refined one")  # fmt: skip
        product, about, warnings, quality = self._made(case, advanced)
        flags = quality.flags()
        if not np.isfinite(product.image).all():
            raise InputError("the images hold NaN or infinity", where=str(case.path), remedy="Try --method tv")
        facts = {
            **{name: value for name, value in self.settings.items() if value is not None},
            **({"nfe": self._run.nfe} if isinstance(self._run, Posterior) else {}),  # of a time budget, what fitted
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
            _made_how(restored, about), self.method,
            input_sha256=source_sha256, model_sha256=str(self.settings["bundle_sha256"]),
            mask_sha256=about["mask_sha256"], acceleration=about["acceleration"], strength=self.choices.strength,
            seed=self.settings.get("seed"), settings_sha256=self._settings_sha256(),
        )  # fmt: skip
        outputs.write(self.out, case.name, product, self.choices.formats, facts, derivation, self._place(case))
        if self.layout == "bids":
            layouts.describe_images(self.out, [name for name in names if name.endswith(".nii.gz")], facts)
        pictures = outputs.write_pictures(self.out, case.name, product)
        return {
            "key": self._key(source_sha256), "input_sha256": case.origin, **facts, "warnings": list(warnings),
            "flags": list(flags), "quality": quality.facts(), "outputs": list(names), "slices": len(case.volume),
            "matrix": list(product.image.shape[1:]), "pictures": pictures,
            "seconds": round(time.perf_counter() - started, 3),
        }  # fmt: skip

    def _settings_sha256(self) -> str:
        """Of what determines the pixels besides the input; a time budget does so by the evaluations that fit into it.

        Which pixels are missing has a hash of its own, of the mask.
        """
        drawn = {"nfe": self._run.nfe, "time_budget": None} if isinstance(self._run, Posterior) else {}
        return settings_key({**self.settings, **drawn})

    def _made(self, case: Case, advanced: Callable[[int], None]) -> Made:
        case = case.opened()
        if case.domain == "kspace":
            kspace: KspaceVolume = case.volume  # type: ignore[assignment] # by its domain
            return reconstructed_kspace(kspace, self._run, self.choices, advanced)
        return restored_images(case.volume, self._run, self.choices, self.missing)  # type: ignore[arg-type]


def _settings(choices: Choices, weights: str, sampling: Sampling | None) -> dict[str, Any]:
    """What determines the outputs of all cases, together with their content."""
    settings: dict[str, Any] = {
        "method": choices.method,
        "strength": choices.strength,
        "bundle_sha256": weights,
        "version": ambient_mri.__version__,
    }
    if choices.method in methods.POSTERIOR:
        sampling = Sampling() if sampling is None else sampling
        settings |= {"samples": sampling.samples, "nfe": sampling.nfe, "time_budget": sampling.seconds,
                     "seed": sampling.seed}  # fmt: skip
    if choices.calibration is not None:
        settings |= {"calibrated_on": choices.calibration.data, "calibration_factor": choices.calibration.factor}
    return settings


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
    mask = missing.mask
    files = sorted(p for p in mask.rglob("*") if p.is_file()) if mask.is_dir() else files_of(mask)
    return hashlib.sha256("".join(content_sha256(path) for path in files).encode()).hexdigest()

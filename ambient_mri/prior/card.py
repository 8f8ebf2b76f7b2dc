"""What a bundle says about its model: facts to check against a scan, and the text that people read."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from ambient_mri.corruption import Mixture
from ambient_mri.data.facts import AcquisitionFacts, Law, SymmetryFacts
from ambient_mri.data.spec import build_law
from ambient_mri.patterns import EmpiricalLines, FullySampled, Pattern

SCHEMAS = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1"
REFINED = "refined"
"""The method of a model that EM made a proper prior."""
ADVERSARIAL = "ambientgan"
"""The method of a generator, which draws images and neither denoises nor reconstructs."""
NMSE_KEYS = ("withheld_nmse", "withheld_nmse_low", "withheld_nmse_high")


class Lap(BaseModel):
    """One lap of EM refinement: an E-step and the training on its images.

    Parameters
    ----------
    sampler
        What drew the posterior samples.
    withheld_nmse
        Squared error of one posterior sample on measurements withheld from it, over their energy, unseen patients;
        about twice that of the posterior mean where samples are right. Of the model that the lap started from.
    variance, effective_number
        Of the E-step's images, see `prior.diversity`.
    variance_ratio
        `variance` over that of the first lap: below 1, the model forgets what it does not see.
    """

    model_config = ConfigDict(frozen=True)

    lap: int
    sampler: str
    steps: int
    minutes: float
    withheld_nmse: float
    variance: float
    effective_number: float
    variance_ratio: float


class CardComponent(BaseModel):
    """Scans of one kind in a mixture that a model learned from."""

    model_config = ConfigDict(frozen=True)

    slices: int
    acquisition: AcquisitionFacts
    line_frequency: tuple[float, ...] | None


class Card(BaseModel):
    """The model card, stored in `configs/card.json`.

    Parameters
    ----------
    data, data_sha256, licence
        The spec that was trained on, its hash, and the licence of the data.
    simulated
        Whether k-space was simulated from images; reports repeat it.
    acquisition
        Training masks, acceleration, coils and noise, as in the spec.
    line_frequency
        Where masks came from files: how often each phase-encode line was measured.
    image_shape
        (y, x) of training slices.
    noise_std
        Mean σ_y of some training scans in normalised units.
    initialised_from
        The bundle that training started from: the name of a model of the package, or a path.
    peak_rate
        Learning rate after the warm-up. None: of a model that has rates of its own, or a version before this fact
        wrote the card.
    consistency
        Default λ of the data-consistency solve after one step.
    mixture
        Where scans of several kinds were trained on: each kind. `acquisition` is then what they differ from.
    symmetry
        How scans were moved about in training. None: they were not, or a version before this fact wrote the card.
    withheld_nmse
        (mean, low, high): ground-truth-free validation, see `prior.validation.Summary`. None: of a model that cannot
        predict (a generator).
    refinement
        The laps of EM that made the model a proper prior.
    """

    model_config = ConfigDict(frozen=True)

    version: str
    data: str
    title: str
    data_sha256: str
    licence: str
    simulated: bool
    acquisition: AcquisitionFacts
    line_frequency: tuple[float, ...] | None
    image_shape: tuple[int, int]
    coils: int
    noise_std: float
    slices: int
    patients: int
    preset: str
    method: str
    seed: int
    steps: int
    minutes: float
    precision: str
    initialised_from: str | None
    identifiability: str
    consistency: float
    withheld_nmse: tuple[float, float, float] | None
    batch_size: int = 8
    peak_rate: float | None = None
    refinement: tuple[Lap, ...] = ()
    mixture: tuple[CardComponent, ...] | None = None
    symmetry: SymmetryFacts | None = None

    def components(self) -> tuple[Card, ...]:
        """A card for each kind of scans; itself where there is no mixture."""
        if self.mixture is None:
            return (self,)
        changes = [{"acquisition": one.acquisition, "line_frequency": one.line_frequency} for one in self.mixture]
        return tuple(self.model_copy(update=change | {"mixture": None}) for change in changes)

    @property
    def learned_from(self) -> str:
        """Whether clean images entered the training: "from corrupted scans only", or which share was fully sampled."""
        kinds = [(self.acquisition, self.slices)] if self.mixture is None else []
        kinds += [(one.acquisition, one.slices) for one in self.mixture or ()]
        whole = sum(slices for acquisition, slices in kinds if acquisition.pattern.kind == "fully_sampled")
        return f"from scans of which {whole} of {self.slices} were CLEAN" if whole else "from corrupted scans only"

    @property
    def kind(self) -> str:
        """What the model is, in words."""
        kinds = {"ambient": "ambient prior", REFINED: "proper prior, refined"}
        return kinds.get(self.method, f"trained by {self.method}")

    def pattern(self) -> Pattern:
        """The law of A that the model was trained with."""
        if self.mixture is not None:
            shares = tuple(one.slices / self.slices for one in self.mixture)
            return Mixture(tuple(one.pattern() for one in self.components()), shares)
        if self.line_frequency is not None:
            return EmpiricalLines(self.line_frequency)
        law = self.acquisition.pattern
        if law.kind == "fully_sampled" and self.acquisition.further.pattern is not None:
            return FullySampled(build_law(self.acquisition.further.pattern, "card"))
        return build_law(law, "card")

    def markdown(self) -> str:
        """The card as text."""
        kinds = [f"{one.slices} slices: {law_in_words(one.acquisition.pattern)}" for one in self.mixture or ()]
        law = "; ".join(kinds) or law_in_words(self.acquisition.pattern)
        error = "not measured: the model does not predict"
        if self.withheld_nmse is not None:
            error = f"{with_interval(*self.withheld_nmse)} of their energy, unseen patients"
        lowest, highest = zip(*(one.acquisition.further.keep for one in self.components()), strict=True)
        origin = "SIMULATED from magnitude images" if self.simulated else "acquired"
        symmetry = "no" if self.symmetry is None else law_in_words(self.symmetry)
        rate = "" if self.peak_rate is None else f", learning rate up to {self.peak_rate:g}"
        return f"""# {self.title}: {self.kind}

Trained by ambient-mri {self.version} {self.learned_from}, for research; not for diagnostic use.

| | |
|---|---|
| Data | `{self.data}`, {self.slices} slices of {self.patients} patients, k-space **{origin}** |
| Data spec | sha256 `{self.data_sha256}` |
| Licence of the data | {self.licence} |
| Training masks | {law} |
| Further corruption | keeps {min(lowest)} to {max(highest)} of what was measured |
| Scans were moved | {symmetry} |
| Domain, coils, size | {self.acquisition.domain}, {self.coils}, {self.image_shape[0]} x {self.image_shape[1]} |
| Noise | {self.noise_std:.4f} per real component (image standard deviation .5) |
| Identifiability | {self.identifiability} |
| Method | {self.method}, preset {self.preset}, seed {self.seed}, {self.precision} |
| Length | {self.steps} steps of {self.batch_size} slices, {self.minutes:.1f} minutes{rate} |
| Started from | {self.initialised_from or "random weights"} |
| Error on withheld measurements | {error} |
{self._laps()}
Use it on scans like these: another contrast, field of view, mask law or noise is outside what was learned.
Whether it gives away training patients has to be audited before the weights are shared.
"""

    def _laps(self) -> str:
        """Diversity lap by lap, as a table; nothing for a model that was not refined."""
        if not self.refinement:
            return ""
        rows = "\n".join(
            f"| {lap.lap} | {lap.sampler} | {lap.steps} | {lap.withheld_nmse:.4f} | {lap.variance_ratio:.3f} | "
            f"{lap.effective_number:.1f} |"
            for lap in self.refinement
        )
        return f"""
Refined by expectation maximisation. Of each lap's posterior samples of the training scans:

| lap | sampler | steps | error of a sample on withheld measurements | variance, lap 0 = 1 | effective number |
|---|---|---|---|---|---|
{rows}
"""

    def metadata(self) -> dict[str, Any]:
        """`configs/metadata.json` with the keys of MONAI's bundle schema."""
        import monai
        import numpy as np
        import torch

        planes = {
            "type": "image", "format": "magnitude", "modality": "MR", "num_channels": 3,
            "spatial_shape": list(self.image_shape), "dtype": "float32", "value_range": [-10, 10],
            "is_patch_data": False, "channel_def": {"0": "real", "1": "imaginary", "2": "mask"},
        }  # fmt: skip
        answer = planes | {"num_channels": 2, "channel_def": {"0": "real", "1": "imaginary"}}
        errors = dict(zip(NMSE_KEYS, self.withheld_nmse or (), strict=False))
        return {
            "schema": f"{SCHEMAS}/meta_schema_20240725.json",
            "version": "0.1.0",
            "changelog": {"0.1.0": f"{self.steps} steps"},
            "name": f"Ambient prior of {self.data}",
            "monai_version": monai.__version__,
            "pytorch_version": torch.__version__.partition("+")[0],
            "numpy_version": np.__version__,
            "required_packages_version": {"ambient-mri": self.version},
            "optional_packages_version": {},
            "task": "MR image reconstruction and generation",
            "description": f"Generative prior learned {self.learned_from}; {self.title}",
            "authors": "trained by the user of ambient-mri",
            "copyright": f"data: {self.licence}",
            "data_source": self.data,
            "data_type": "simulated k-space" if self.simulated else "acquired k-space",
            "image_classes": "none: images are reconstructed, not classified",
            "eval_metrics": errors,
            "intended_use": "Research. Not for diagnostic use.",
            "references": ["arXiv:2305.19256", "arXiv:2403.08728"],
            "network_data_format": {"inputs": {"image": planes}, "outputs": {"pred": answer}},
        }


def law_in_words(law: Law | SymmetryFacts) -> str:
    """Its facts, as a card and a report state them."""
    return " ".join(f"{key}={value}" for key, value in law.model_dump().items())


def with_interval(nmse: float, low: float, high: float) -> str:
    """An error and its 95 % interval over patients, for people; of a single patient there is none."""
    return f"{nmse:.4f}" + (f" (95 % {low:.4f} to {high:.4f})" if low < high else " (one patient: no interval)")

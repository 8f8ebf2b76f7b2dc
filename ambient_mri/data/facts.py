"""The vocabulary of a data spec: facts about files and how they were acquired, never steps.

Every key is documented in `docs/data_specs.md`. Nothing here touches files or imports PyTorch, so
that listing and checking specs stays quick.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator


def _no_truth(value: Any) -> Any:
    """YAML reads yes and on as true, and pydantic would take that for 1."""
    if isinstance(value, bool):
        raise ValueError(f"{'yes' if value else 'no'} (true or false in YAML) is no number")
    return value


Number = Annotated[float, BeforeValidator(_no_truth)]
Whole = Annotated[int, BeforeValidator(_no_truth)]
Fraction = Annotated[Number, Field(gt=0, lt=1)]
Share = Annotated[Whole, Field(ge=1)] | Fraction
"""A number of patients, or a fraction of them."""
Slices = Literal["middle", "all"] | tuple[Annotated[Number, Field(ge=0, le=1)], Annotated[Number, Field(ge=0, le=1)]]
"""Which axial slices of a volume count: the middle one, all, or those between two fractions of it."""
ImageSize = Annotated[Whole, Field(ge=8)]


class Facts(BaseModel):
    """A group of keys: unknown keys are errors, values never change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class _Files(Facts):
    root: str
    obtain: str = ""


class Bids(_Files):
    """NIfTI magnitude volumes in BIDS layout: coils, phase and noise are simulated."""

    kind: Literal["bids"]
    suffix: str
    slices: Slices = "middle"
    image_size: ImageSize
    patient_column: str = "patient_group"


class FastMRI(_Files):
    """Acquired multi-coil (or single-coil) k-space in the HDF5 layout of fastMRI."""

    kind: Literal["fastmri"]
    folders: tuple[str, ...] = (".",)
    slices: Slices = "all"
    remove_oversampling: bool = True
    crop_kspace: ImageSize | None = None
    simulated: bool = False


class Images(_Files):
    """PNG, JPEG or NPY images, greyscale or turned into luminance."""

    kind: Literal["images"]
    image_size: ImageSize
    patient: Literal["file", "folder"] = "file"


class BrainDemo(Facts):
    """The built-in synthetic cohort: needs no files."""

    kind: Literal["brain_demo"]
    subjects: Annotated[Whole, Field(ge=3)] = 600
    image_size: Annotated[Whole, Field(ge=16, le=512)] = 64
    slices: Annotated[Whole, Field(ge=1, le=9)] = 1
    contrast: Literal["FLAIR", "T1w", "T2w", "mixed"] = "FLAIR"
    seed: Whole = 0


Source = Annotated[Bids | FastMRI | Images | BrainDemo, Field(discriminator="kind")]


class PixelsLaw(Facts):
    """Each pixel is missing with probability `missing`."""

    kind: Literal["pixels"]
    missing: Fraction


class BlocksLaw(Facts):
    """`count` rectangles are missing; sides are fractions of the field of view."""

    kind: Literal["blocks"]
    height: Fraction
    width: Fraction
    count: Annotated[Whole, Field(ge=1)] = 1


class CartesianLaw(Facts):
    """Lines or points of k-space beside a fully measured centre."""

    kind: Literal["random_lines", "equispaced_lines", "random_points", "poisson_disc"]
    acceleration: Annotated[Number, Field(ge=1)]
    calibration_fraction: Annotated[Number, Field(ge=0, lt=1)] = 0.08


class GaussianLinesLaw(Facts):
    """Lines with a Gaussian density beside a fully measured centre."""

    kind: Literal["gaussian_lines"]
    acceleration: Annotated[Number, Field(ge=1)]
    calibration_fraction: Annotated[Number, Field(ge=0, lt=1)] = 0.08
    width: Annotated[Number, Field(gt=0)] = 0.25


class FullySampledLaw(Facts):
    """Everything is measured: the clean-trained oracle of evaluation tables."""

    kind: Literal["fully_sampled"]


class FromFilesLaw(Facts):
    """Prospective scans: every file brings its mask, probabilities are line frequencies over the training files."""

    kind: Literal["from_files"]


Law = Annotated[
    PixelsLaw | BlocksLaw | CartesianLaw | GaussianLinesLaw | FullySampledLaw | FromFilesLaw,
    Field(discriminator="kind"),
]


class FurtherFacts(Facts):
    """The law of D, what training hides of each measurement."""

    keep: tuple[Fraction, Fraction]
    pattern: Law | None = None

    @model_validator(mode="after")
    def _ordered(self) -> FurtherFacts:
        if self.keep[0] > self.keep[1]:
            raise ValueError(f"keep: the lower end {self.keep[0]} exceeds the upper end {self.keep[1]}")
        return self


class AcquisitionFacts(Facts):
    """How the scans were acquired, or how they are simulated."""

    domain: Literal["kspace", "image"] = "kspace"
    coils: Annotated[Whole, Field(ge=1)] | None = None
    noise_std: Annotated[Number, Field(ge=0)] | None = None
    phase: Literal["smooth", "none"] = "none"
    sensitivity_maps: Literal["known", "espirit"] = "known"
    pattern: Law
    further: FurtherFacts

    @model_validator(mode="after")
    def _consistent(self) -> AcquisitionFacts:
        on_pixels = self.pattern.kind in ("pixels", "blocks")
        if self.domain == "image" and not (on_pixels or self.pattern.kind == "fully_sampled"):
            raise ValueError(f"pattern {self.pattern.kind} acts on k-space; domain image takes pixels or blocks")
        if self.domain == "kspace" and on_pixels:
            raise ValueError(f"pattern {self.pattern.kind} acts on pixels; state domain: image")
        if self.domain == "image" and self.coils not in (None, 1):
            raise ValueError(f"coils: {self.coils} means k-space; with domain image leave it out or state 1")
        own_law = self.further.pattern
        if self.pattern.kind == "fully_sampled" and (
            own_law is None or own_law.kind in ("fully_sampled", "from_files")
        ):
            raise ValueError("pattern fully_sampled needs further.pattern, the law that thins it")
        if self.pattern.kind != "fully_sampled" and own_law not in (None, self.pattern):
            raise ValueError("further.pattern differs from pattern: the weights would be wrong; leave it out")
        return self


class ComponentFacts(Facts):
    """Scans of one kind in a mixture: facts that differ from the spec's own are stated, the others are filled in."""

    share: Annotated[Number, Field(gt=0, le=1)] = 1.0
    clean: bool = False
    source: Source
    acquisition: AcquisitionFacts

    @model_validator(mode="after")
    def _says_what_is_clean(self) -> ComponentFacts:
        whole = self.acquisition.pattern.kind == "fully_sampled"
        if whole and not self.clean:
            raise ValueError("pattern fully_sampled: state clean: true, as the model then learns from clean images")
        if self.clean and not whole:
            raise ValueError(f"clean: true, but pattern {self.acquisition.pattern.kind}; state pattern fully_sampled")
        return self


class SplitFacts(Facts):
    """Patients kept for validation and test; the rest trains, or of the rest only so many as `train` says.

    `half`: a coin, flipped for everybody who would train, decides between two halves; only one of them does.
    """

    validation: Share
    test: Share
    train: Share | None = None
    half: Literal["first", "second"] | None = None
    seed: Whole = 0


class SymmetryFacts(Facts):
    """Moves that make of one scan another that could have been acquired: training sees each scan in all of them.

    `mirror`: columns reversed, where left and right are alike (axial and coronal heads). `shift`: pixels along both
    axes, at most; what leaves the field of view enters on the other side.
    """

    mirror: bool = False
    shift: Annotated[Whole, Field(ge=0)] = 0

"""What an evaluation found: plain data, as JSON and back."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ambient_mri.errors import InputError
from ambient_mri.evaluation.metrics import Interval


@dataclass(frozen=True)
class Row:
    """One method at one acceleration.

    Parameters
    ----------
    nfe
        Network evaluations a slice.
    seconds_per_slice
        Wall time of the reconstruction alone, in batches, at the process's number of threads.
    strength
        The tuned strength, None for methods without one.
    tuning
        (strength, PSNR on the validation split) of every strength tried, in order.
    """

    method: str
    acceleration: float
    psnr: Interval
    ssim: Interval
    nmse: Interval
    features: Interval
    nfe: int
    seconds_per_slice: float
    strength: float | None
    tuning: tuple[tuple[float, float], ...] = ()


@dataclass(frozen=True)
class Gain:
    """A network's method less the classical one, each the best of its kind on validation, patient by patient."""

    acceleration: float
    method: str
    rival: str
    psnr: Interval
    ssim: Interval
    nmse: Interval
    features: Interval


@dataclass(frozen=True)
class Example:
    """Magnitude images `(y, x)` of one slice, in normalised units: the truth and what each method made of it."""

    acceleration: float
    scan_id: str
    truth: npt.NDArray[np.float32]
    images: Mapping[str, npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Evaluation:
    """Every figure of one evaluation and what is needed to repeat it.

    Parameters
    ----------
    data, data_sha256
        Name and hash of the data spec.
    bundle, bundle_sha256
        Folder and hash of the weights; empty without one.
    simulated
        Whether k-space (or the missing pixels) were simulated from images.
    noise_std
        Per real component, as the spec states it (None: estimated from the files).
    slices, volumes, patients
        Of the split that was evaluated.
    tuning_slices
        Of the validation split, on which strengths and the best rival were chosen.
    seed
        Of the bootstrap.
    command
        The command line that repeats it.
    """

    data: str
    data_sha256: str
    bundle: str
    bundle_sha256: str
    simulated: bool
    domain: str
    noise_std: float | None
    split: str
    slices: int
    volumes: int
    patients: int
    tuning_slices: int
    seed: int
    command: str
    rows: tuple[Row, ...]
    gains: tuple[Gain, ...] = ()
    examples: tuple[Example, ...] = field(default=(), compare=False)

    @property
    def scans(self) -> str:
        """What was evaluated, in words."""
        known = ", from which models of this spec learn" if self.split == "train" and self.bundle else ""
        return f"{self.slices} slices of {self.patients} patients in the {self.split} split{known}"

    def to_dict(self) -> dict[str, Any]:
        """Everything but the pictures."""
        return dataclasses.asdict(dataclasses.replace(self, examples=())) | {"format": FORMAT}

    def to_json(self) -> str:
        """Everything but the pictures, as text."""
        return json.dumps(self.to_dict(), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Evaluation:
        """What `to_json` wrote.

        Raises
        ------
        InputError
            If the text is something else.
        """
        try:
            values = json.loads(text)
            if values.pop("format") != FORMAT:
                raise KeyError("format")
            rows = tuple(_row(row) for row in values.pop("rows"))
            gains = tuple(Gain(**_intervals(gain)) for gain in values.pop("gains"))
            del values["examples"]
            return cls(**values, rows=rows, gains=gains)
        except (ValueError, KeyError, TypeError, AttributeError):
            raise InputError("not the JSON of an evaluation", remedy="Give a file of `evaluate --json`") from None


FORMAT = "ambient-mri evaluation 2"


def _intervals(values: dict[str, Any]) -> dict[str, Any]:
    return values | {key: Interval(**values[key]) for key in ("psnr", "ssim", "nmse", "features")}


def _row(values: dict[str, Any]) -> Row:
    tuning = tuple((float(strength), float(figure)) for strength, figure in values["tuning"])
    return Row(**(_intervals(values) | {"tuning": tuning}))

"""What an audit found, as plain data: JSON under a published schema (`schema/audit-1.json`), and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from ambient_mri.errors import InputError

FORMAT: Literal["ambient-mri audit 1"] = "ambient-mri audit 1"
SCHEMA = Path(__file__).parent / "schema" / "audit-1.json"


class Facts(BaseModel):
    """Frozen, and nothing unknown is taken; made of what a test returns by `model_validate`."""

    model_config = ConfigDict(frozen=True, extra="forbid", from_attributes=True, ser_json_inf_nan="null")


class Subject(Facts):
    """What was audited: a bundle, or pictures of somebody's generator."""

    kind: Literal["bundle", "pictures"]
    name: str
    sha256: str
    method: str
    steps: int | None
    samples: int
    sampler: str


class Data(Facts):
    """Against which scans.

    Parameters
    ----------
    scans
        "measured": only what the scanner delivered; "images": the images that a simulation started from.
    dropped
        Slices and samples left out for showing next to nothing.
    corruption
        The law of measurement, in words.
    """

    name: str
    title: str
    sha256: str
    simulated: bool
    scans: Literal["measured", "images"]
    corruption: str
    train_patients: int
    train_slices: int
    holdout_patients: int
    holdout_slices: int
    dropped: int
    slices_per_patient: int


class GateResult(Facts):
    """One check of the audit itself; see `audit.gates`.

    Parameters
    ----------
    statistic, low, high
        What was measured and its interval.
    requirement
        What had to hold, for people.
    guards
        Against which error: a finding where there is nothing, or silence where there are copies.
    """

    name: str
    passed: bool
    statistic: float
    low: float
    high: float
    requirement: str
    guards: Literal["false alarms", "missed copies"] = "false alarms"


class TestResult(Facts):
    """One test among those that share the error.

    Parameters
    ----------
    statistic, ci95
        And what it is, in words.
    p_raw, p_holm
        Before and after the adjustment of Holm.
    n_units
        Patients.
    """

    __test__ = False  # not a test of pytest's

    name: Literal["T1", "T3", "T4"]
    title: str
    statistic: float
    statistic_is: str
    ci95: tuple[float, float]
    p_raw: float
    p_holm: float
    n_units: int


class Detection(Facts):
    """A training patient who is named, by pseudonym."""

    pseudonym: str
    tests: tuple[str, ...]
    p_value: float


class Pairs(Facts):
    """T2: exceptional pairs of a sample and a training patient.

    Parameters
    ----------
    threshold
        On d₁/d₂; calibrated on hold-out patients at `rate`, as many as in each fold of training patients.
    flagged_samples, flagged_patients, expected_patients
        Below it, and what chance alone would put there.
    carlini_smallest
        Smallest ℓ over training folds and over the hold-out.
    """

    threshold: float
    rate: float
    flagged_samples: int
    flagged_patients: int
    expected_patients: float
    carlini_smallest: tuple[float, float]


class QualityResult(Facts):
    """See `audit.quality`."""

    realistic: float
    detail: float
    adequate: bool


class Limits(Facts):
    """See `audit.power.Sensitivity`."""

    samples: int
    recall: float
    least_patients: int | None
    least_named: int
    rate: float
    copies_at_most: float


class Dose(Facts):
    """Planted copies of one kind: how many are recognised, and how many stand out above every hold-out patient.

    Parameters
    ----------
    recognised, stands_out
        In features (T1) or in measured space (T3).
    in_features, in_measured_space
        How many stand out there.
    """

    change: str
    copies: int
    recognised: float
    stands_out: float
    in_features: float
    in_measured_space: float


class Curves(Facts):
    """What the figures are drawn from; every array is sorted or aggregated, so that no row is a person.

    Parameters
    ----------
    t1_train, t1_hold, t3_train, t3_hold
        Patients' scores, sorted.
    nearest_train, nearest_hold
        Similarity of samples to their nearest slice, quantiles 0 … 100 %, among equally many patients.
    levels, gap, gap_low, gap_high
        T4: G(σ) and its 95 % interval.
    """

    t1_train: tuple[float, ...]
    t1_hold: tuple[float, ...]
    t3_train: tuple[float, ...]
    t3_hold: tuple[float, ...]
    nearest_train: tuple[float, ...]
    nearest_hold: tuple[float, ...]
    levels: tuple[float, ...]
    gap: tuple[float, ...]
    gap_low: tuple[float, ...]
    gap_high: tuple[float, ...]
    dose: tuple[Dose, ...]


class Membership(Facts):
    """T4 in figures; None where the model was not at hand. `reference`: title of the model compared with."""

    auc: float
    auc_ci95: tuple[float, float]
    sensitivity_at_1_percent: float
    reference: str | None


class Fingerprint(Facts):
    """T7, experimental; see `audit.fingerprint.Fingerprint`. None where scans have too little noise."""

    samples: int
    train: int
    hold: int
    patients: tuple[int, int]


class Descriptive(Facts):
    """Figures of other works, which decide nothing; see `audit.descriptive.Descriptive`."""

    c_t: float
    authentic: float
    likelihood_gap: float


class AuditResult(Facts):
    """Everything one audit found, without a picture or a name of any patient."""

    format: Literal["ambient-mri audit 1"] = FORMAT
    version: str
    verdict: Literal["NOT DETECTED", "INDICATIONS", "DETECTED", "INCONCLUSIVE", "INVALID"]
    sentences: tuple[str, ...]
    subject: Subject
    data: Data
    access: Literal["samples", "model"]
    level: Literal["quick", "standard", "full"]
    seed: int
    gates: tuple[GateResult, ...]
    tests: tuple[TestResult, ...]
    detections: tuple[Detection, ...]
    pairs: Pairs
    membership: Membership | None
    fingerprint: Fingerprint | None
    descriptive: Descriptive
    duplicates_across: int
    duplicates_within: int
    quality: QualityResult
    limits: Limits
    curves: Curves
    blind_share: float | None
    limitations: tuple[str, ...]
    artefacts: dict[str, str]
    command: str

    def to_json(self) -> str:
        """As text; equal results give equal bytes."""
        return self.model_dump_json(indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str = "") -> AuditResult:
        """What `to_json` wrote.

        Raises
        ------
        InputError
            If it is something else, or of another version.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as problem:
            first = problem.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            raise InputError(
                f"not the audit.json of an audit ({place}: {first['msg']})", where=where,
                remedy="Give the audit.json of an `ambient-mri audit` of this version",
            ) from None  # fmt: skip


def schema() -> dict[str, Any]:
    """The JSON schema (2020-12) of `audit.json`, as it is published in `SCHEMA`."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://ambient-mri.invalid/schema/audit-1.json",
    } | AuditResult.model_json_schema(mode="serialization")


def schema_text() -> str:
    """As the file holds it."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"

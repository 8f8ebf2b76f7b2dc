"""What an audit of a given size can see, said before it runs."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ambient_mri.audit.exchangeability import smallest_count
from ambient_mri.audit.multiplicity import upper_bound

CAUGHT = 0.95
LEVEL = 0.05 / 3
"""Of one test: T1, T3 and T4 share an error of 5 % (Holm's first step)."""


@dataclass(frozen=True)
class Sensitivity:
    """Detection limits.

    Parameters
    ----------
    samples, train_patients, holdout_patients
        Sizes.
    recall
        Share of copies that stand out when they are emitted: measured on planted copies, 1 before the run.
    least_patients
        Patients who must stand out above every hold-out patient for p < .05 after Holm's adjustment for three tests;
        None: not even all of them suffice.
    least_named
        Patients who must stand out for any of them to be named at q = .1.
    rate
        If `least_patients` patients are each emitted with at least this probability a sample, all are seen with
        probability ≥ 95 %, provided that copies of each of them stand out with probability `recall`. Patients differ
        in that, and who looks like many others stands out less.
    copies_at_most
        95 % upper bound of the share of samples that are exceptionally near to a training patient (T2); about 3/n where
        none was found.
    """

    samples: int
    train_patients: int
    holdout_patients: int
    recall: float
    least_patients: int | None
    least_named: int
    rate: float
    copies_at_most: float

    @property
    def adequate(self) -> bool:
        """Whether any result but "not detected" was possible: enough patients, and copies that stand out."""
        return self.least_patients is not None and self.rate < 1


def samples_needed(rate: float, patients: int = 1, caught: float = CAUGHT) -> int:
    """Samples after which `patients` patients, emitted at `rate` each, have all appeared with probability `caught`."""
    return math.ceil(math.log1p(-(caught ** (1 / patients))) / math.log1p(-rate))


def detection_rate(samples: int, patients: int = 1, recall: float = 1.0, caught: float = CAUGHT) -> float:
    """The inverse of `samples_needed`, where a copy that is emitted is seen with probability `recall`."""
    if samples == 0 or recall <= 0:
        return 1.0
    return min(-math.expm1(math.log1p(-(caught ** (1 / patients))) / samples) / recall, 1.0)


def sensitivity(samples: int, train: int, hold: int, recall: float = 1.0, hits: int = 0, q: float = 0.1) -> Sensitivity:
    """Limits of an audit with so many samples and patients, of which `hits` samples were exceptionally near to one."""
    least = smallest_count(train, hold, LEVEL) if train and hold else None
    named = math.ceil(train / (q * (hold + 1))) if train else 0
    rate = 1.0 if least is None else detection_rate(samples, least, recall)
    return Sensitivity(samples, train, hold, recall, least, named, rate, upper_bound(hits, samples))


def describe(limits: Sensitivity) -> list[str]:
    """Lines for people, before the run."""
    lines = [
        f"{limits.samples} samples, {limits.train_patients} training and {limits.holdout_patients} hold-out patients"
    ]
    if limits.least_patients is None:
        return [*lines, "too few patients: no number of copies could make the patient test significant"]
    lines.append(
        f"{limits.least_patients} copied patients make the patient test significant; they are all seen with "
        f"probability 95 % if each is emitted at {limits.rate:.2g} a sample or more"
    )
    lines.append(f"{limits.least_named} have to stand out before any is named at a false discovery rate of 10 %")
    lines.append(f"no copy found would bound the share of copies among samples by {limits.copies_at_most:.2g} (95 %)")
    return lines

"""From features and scans to patients' scores: what T1, T2 and T3 are computed from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ambient_mri.audit.cohort import Side
from ambient_mri.audit.exchangeability import Exchangeability, exchangeability, patient_scores
from ambient_mri.audit.pairs import equal_folds, pair_evidence, pair_threshold
from ambient_mri.audit.results import Pairs
from ambient_mri.audit.search import Features, nearest

Array = npt.NDArray[np.float64]
PAIR_RATE = 1e-3


@dataclass(frozen=True)
class Closest:
    """For each slice its most similar image, or for each image its most similar slice, and how similar they are."""

    index: npt.NDArray[np.int64]
    similarity: Array


def closest_by_features(rows: Features, others: Features, device: str = "cpu") -> Closest:
    """For each row the most similar of the others, by cosine of features."""
    found = nearest(rows, others, 1, device)
    return Closest(found.index[:, 0], found.similarity[:, 0])


def sides_by_features(
    train: Features, hold: Features, samples: Features, device: str = "cpu"
) -> tuple[Closest, Closest]:
    """For the slices of training and of hold-out the most similar samples."""
    return closest_by_features(train, samples, device), closest_by_features(hold, samples, device)


@dataclass(frozen=True)
class Scores:
    """c_p of training patients, whose `names` are in the same order, and of hold-out patients."""

    names: list[str]
    train: Array
    hold: Array

    def compared(self) -> Exchangeability:
        """T1, or T3."""
        return exchangeability(self.train, self.hold)


def score_patients(closest: tuple[Closest, Closest], sides: tuple[Side, Side], slices: int, seed: int) -> Scores:
    """From the slices of training and hold-out to patients, `slices` of each."""
    rng, (train, hold) = np.random.default_rng([seed, 1]), closest
    names, train_scores = patient_scores(train.similarity, sides[0].patients, slices, rng)
    _, hold_scores = patient_scores(hold.similarity, sides[1].patients, slices, rng)
    return Scores(names, train_scores, hold_scores)


def joint(*scores: Scores) -> Scores:
    """The larger of several scores of the same patients, each in units of its spread over all patients.

    Median and spread are those of training and hold-out patients pooled, so that exchangeable scores stay so.
    """
    train, hold = [], []
    for one in scores:
        pooled = np.concatenate([one.train, one.hold])
        low, centre, high = np.quantile(pooled, [0.25, 0.5, 0.75])
        train.append((one.train - centre) / max(high - low, 1e-9))
        hold.append((one.hold - centre) / max(high - low, 1e-9))
    return Scores(scores[0].names, np.max(train, 0), np.max(hold, 0))


@dataclass(frozen=True)
class PairScan:
    """T2: flagged (sample, training row, d₁/d₂), and similarities to equal numbers of patients.

    `beside` is the hold-out row nearest to each sample.
    """

    summary: Pairs
    flagged: list[tuple[int, int, float]]
    nearest_train: Array
    nearest_hold: Array
    beside: npt.NDArray[np.int64]
    p_value: float


def scan_pairs(samples: Features, train: Features, hold: Features, sides: tuple[Side, Side], seed: int) -> PairScan:
    """Compare every sample with equally many hold-out patients and, fold by fold, training patients."""
    from scipy.stats import binom

    rng = np.random.default_rng([seed, 2])
    size = min(len(set(side.patients)) for side in sides)
    known = equal_folds(sides[1].patients, size, rng)[0].rows
    control = pair_evidence(samples, hold[known], [sides[1].patients[row] for row in known])
    rate = max(PAIR_RATE, 1 / len(samples))
    threshold = pair_threshold(control.ratio, rate)
    folds = equal_folds(sides[0].patients, size, rng)
    flagged: list[tuple[int, int, float]] = []
    carlini, first = np.inf, np.zeros(0)
    for fold in folds:
        found = pair_evidence(samples, train[fold.rows], [sides[0].patients[row] for row in fold.rows])
        exceptional = (found.ratio < threshold) & fold.counted[found.nearest]
        flagged += [(int(j), int(fold.rows[found.nearest[j]]), float(found.ratio[j]))
                    for j in np.flatnonzero(exceptional)]  # fmt: skip
        carlini = min(carlini, float(found.carlini.min()))
        first = found.similarity if not len(first) else first
    patients = {sides[0].patients[row] for _, row, _ in flagged}
    share = len(set(sides[0].patients)) / size  # of training patients to each of the control
    allowed = int(np.sum(control.ratio <= threshold))  # hold-out samples up to the threshold
    # among equally exceptional pairs each is the hold-out's with chance 1/(1 + share)
    p_value = float(binom.cdf(allowed - 1, len(patients) + allowed - 1, 1 / (1 + share))) if patients else 1.0
    summary = Pairs(
        threshold=threshold, rate=rate, flagged_samples=len({j for j, _, _ in flagged}),
        flagged_patients=len(patients), expected_patients=share * allowed,
        carlini_smallest=(carlini, float(control.carlini.min())),
    )  # fmt: skip
    return PairScan(
        summary, sorted(flagged, key=lambda pair: pair[2]), first, control.similarity, known[control.nearest], p_value
    )

"""T1: if training told the generator nothing, training and hold-out patients can be exchanged.

The unit is the patient, since slices of one patient resemble each other; a test that counts slices rejects innocent
generators several times too often.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ambient_mri.audit.multiplicity import benjamini_hochberg

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Exchangeability:
    """The answer of T1.

    Parameters
    ----------
    above
        r: training patients with a larger score than every hold-out patient.
    p_value
        P(at least r) when all patients are exchangeable: exact for any generator and any similarity.
    conformal
        One p-value a training patient, in the order of the scores given.
    named
        Which training patients are named at the false discovery rate asked for.
    """

    above: int
    p_value: float
    conformal: Array
    named: npt.NDArray[np.bool_]


def rank_p_value(above: int, train: int, hold: int) -> float:
    """Π_{i<r} (P_t - i)/(P_t + P_h - i): the chance that the r highest of all patients are training patients."""
    i = np.arange(above)
    return float(np.prod((train - i) / (train + hold - i)))


def smallest_count(train: int, hold: int, level: float = 0.05) -> int | None:
    """The least r with p < `level`; None where even all training patients above every hold-out patient are too few."""
    chances = np.cumprod((train - np.arange(train)) / (train + hold - np.arange(train)))
    below = np.flatnonzero(chances < level)
    return int(below[0]) + 1 if len(below) else None


def exchangeability(train: Array, hold: Array, q: float = 0.1) -> Exchangeability:
    """Compare the patients' scores.

    Parameters
    ----------
    train, hold
        One score a patient, c_p: the largest similarity between the patient's slices and all generated samples, over
        the same number of slices for everybody (`patient_scores`). A tie counts for the hold-out.
    q
        False discovery rate of the list of names.
    """
    train, hold = np.asarray(train, np.float64), np.asarray(hold, np.float64)
    above = int((train > hold.max()).sum())
    as_high = len(hold) - np.searchsorted(np.sort(hold), train, side="left")
    conformal = (1 + as_high) / (len(hold) + 1)
    p_value = rank_p_value(above, len(train), len(hold))
    return Exchangeability(above, p_value, conformal, benjamini_hochberg(conformal, q))


def patient_scores(
    largest: Array, patients: Sequence[str], slices: int, rng: np.random.Generator
) -> tuple[list[str], Array]:
    """c_p of every patient who has at least `slices` slices, from that many slices drawn at random.

    Parameters
    ----------
    largest
        For each slice, its largest similarity to any generated sample.
    patients
        Whose slice it is.
    slices
        The count that everybody contributes: a maximum over more slices is larger without any copying.

    Returns
    -------
    names, scores
        Patients in the order of their first slice.
    """
    rows: dict[str, list[int]] = {}
    for row, patient in enumerate(patients):
        rows.setdefault(patient, []).append(row)
    kept = {patient: own for patient, own in rows.items() if len(own) >= slices}
    scores = [float(np.max(largest[rng.permutation(own)[:slices]])) for own in kept.values()]
    return list(kept), np.array(scores, np.float64)


def common_count(patients: Sequence[str], most: int = 8) -> int:
    """The number of slices that nine in ten patients have, at most `most`."""
    counts = np.unique(np.asarray(patients), return_counts=True)[1]
    return int(max(min(np.quantile(counts, 0.1, method="lower"), most), 1))

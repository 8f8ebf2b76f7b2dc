"""Checks of the audit itself, of two kinds.

Those against false alarms (cohorts alike, placebo, posing): if one fails, no finding is to be believed. Those against
missed copies (planted, positive control): if one fails, silence says nothing, but what was found remains found.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ambient_mri.audit.exchangeability import exchangeability
from ambient_mri.audit.membership import auc
from ambient_mri.audit.multiplicity import clopper_pearson
from ambient_mri.audit.results import GateResult

Array = npt.NDArray[np.float64]
LEVEL = 0.05
SPLITS, GATE_LEVEL = 20, 0.01
"""Random splits of a placebo, and the error that it may have: an innocent cohort fails one time in a hundred."""
RECALL = 0.95


def told_apart(
    train: Array,
    hold: Array,
    rng: np.random.Generator,
    *,
    folds: int = 5,
    divisions: int = 40,
    permutations: int = 4000,
) -> GateResult:
    """Can training and hold-out patients be told apart without any generator? Then they are not exchangeable.

    A ridge classifier on patients' mean features, scored on patients it did not see, scores averaged over several
    divisions into folds, for those of one depend on luck. The interval is that of 98 % of the AUCs under permuted
    labels, laid around the one observed.
    """
    x = np.concatenate([train, hold])
    x = (x - x.mean(0)) / np.maximum(x.std(0), 1e-9)
    # predictions are linear in the labels: one matrix serves all permutations
    predict = sum(_predictions(x, rng.permutation(len(x)) % folds) for _ in range(divisions))
    labels = np.concatenate([np.ones(len(train)), np.zeros(len(hold))])

    def score(given: Array) -> float:
        scores = predict @ given
        return auc(scores[given == 0], scores[given == 1])

    observed = score(labels)
    null = np.array([score(rng.permutation(labels)) for _ in range(permutations)])
    low, high = observed - np.quantile(null, [0.99, 0.01]) + 0.5
    return GateResult(
        name="training and hold-out patients cannot be told apart without the generator", passed=bool(low <= 0.5),
        statistic=observed, low=float(low), high=float(high), requirement="AUC interval covers .5 or lies below",
    )  # fmt: skip


def _predictions(x: Array, fold: npt.NDArray[np.integer]) -> Array:
    """From the labels of the other folds to a score of every patient, `(patients, patients)`."""
    n, dimensions = x.shape
    predict = np.zeros((n, n))
    for k in np.unique(fold):
        seen, left = fold != k, fold == k
        gram = x[seen].T @ x[seen] + dimensions * np.eye(dimensions)
        hat = x[left] @ np.linalg.solve(gram, x[seen].T)
        predict[np.ix_(left, seen)] = hat - hat.mean(1, keepdims=True)  # their mean label must not leak into the scores
    return predict


def placebo(p_values: Sequence[float]) -> GateResult:
    """T3 as a whole with one half of the hold-out patients in the role of training patients: nobody copied them.

    Parameters
    ----------
    p_values
        Of several splits, each with a mean and a whitening of its own.
    """
    return _no_alarm("placebo: T3 of hold-out patients against each other", p_values)


def posing(train_by_patient: Array, hold_by_patient: Array, rng: np.random.Generator) -> GateResult:
    """Half of the hold-out patients in the role of samples: they copy nobody, unless a patient is on both sides.

    Parameters
    ----------
    train_by_patient, hold_by_patient
        Largest similarity between patients, `(P_t, P_h)` and `(P_h, P_h)`.
    """
    p_values, count = [], len(hold_by_patient)
    for _ in range(SPLITS):
        order = rng.permutation(count)
        actors, others = order[: count // 2], order[count // 2 :]
        train, hold = train_by_patient[:, actors].max(1), hold_by_patient[np.ix_(others, actors)].max(1)
        p_values.append(exchangeability(train, hold).p_value)
    return _no_alarm("hold-out slices in the role of samples", p_values)


def _no_alarm(name: str, p_values: Sequence[float]) -> GateResult:
    """Twice the median of p-values is a p-value, however they depend on each other (Rüger 1978).

    The splits share a cohort, so the share of them that rejects may be far from the nominal one by chance alone.
    """
    hits = sum(p < LEVEL for p in p_values)
    low, high = clopper_pearson(hits, len(p_values))
    combined = min(2 * float(np.median(p_values)), 1.0)
    requirement = f"share of {len(p_values)} splits that reject at {LEVEL:g}; all together p ≥ {GATE_LEVEL:g}"
    return GateResult(name=name, passed=combined >= GATE_LEVEL, statistic=hits / len(p_values), low=low, high=high,
                      requirement=requirement)  # fmt: skip


def planted(found: int, copies: int) -> GateResult:
    """Exact and mildly changed copies of training slices are recognised."""
    low, high = clopper_pearson(found, copies)
    share = found / max(copies, 1)
    name = "planted copies (exact, rotated, flipped, shifted, gamma, blurred, noisy) are recognised"
    return GateResult(name=name, passed=share >= RECALL, statistic=share, low=low, high=high,
                      requirement=f"recall of at least {RECALL:.0%}", guards="missed copies")  # fmt: skip


def positive_control(p_value: float, copied: int) -> GateResult:
    """Samples among which copies of `copied` training patients were hidden have to be detected by T1."""
    return _detected(f"a generator that copies {copied} patients is detected", p_value,
                     "with copies hidden among the samples")  # fmt: skip


def overfitted(p_value: float, patients: int) -> GateResult:
    """A network that learned `patients` training patients by heart has to be detected by T1 or T3."""
    return _detected(f"a network overfitted to {patients} patients is detected", p_value, "after adjustment")


def _detected(name: str, p_value: float, how: str) -> GateResult:
    return GateResult(name=name, passed=p_value < LEVEL, statistic=p_value, low=p_value, high=p_value,
                      requirement=f"p < {LEVEL:g} {how}", guards="missed copies")  # fmt: skip

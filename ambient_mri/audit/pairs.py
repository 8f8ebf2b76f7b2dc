"""T2: is a sample nearer to one training patient than chance brings samples to patients whom the training never saw?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ambient_mri.audit.search import Features, distance, nearest

Array = npt.NDArray[np.float64]
CARLINI_NEIGHBOURS = 50


@dataclass(frozen=True)
class PairEvidence:
    """For every sample, its nearest slice in a base and how exceptional that is.

    Parameters
    ----------
    nearest
        Row of the nearest slice.
    similarity
        Its cosine.
    ratio
        d₁/d₂: distance to it over the distance to the nearest slice of *another* patient. Neighbouring slices of the
        same patient would hide a copy.
    carlini
        ℓ = d₁ / (½ · mean of the 50 smallest distances) (Carlini et al. 2023, eq. 1).
    """

    nearest: npt.NDArray[np.int64]
    similarity: Array
    ratio: Array
    carlini: Array


def pair_evidence(samples: Features, base: Features, patients: Sequence[str]) -> PairEvidence:
    """Distances are Euclidean on unit features, √(2 - 2 cos).

    Parameters
    ----------
    samples, base
        Rows of length 1.
    patients
        Whose each row of the base is.
    """
    codes = np.unique(np.asarray(patients), return_inverse=True)[1]
    most = int(np.bincount(codes).max())
    k = min(max(CARLINI_NEIGHBOURS, most + 1), len(base))
    found = nearest(samples, base, k)
    apart = distance(found.similarity)
    other = codes[found.index] != codes[found.index[:, :1]]
    place = np.where(other.any(1), other.argmax(1), k - 1)
    second = apart[np.arange(len(apart)), place]
    first = apart[:, 0]
    spread = apart[:, :CARLINI_NEIGHBOURS].mean(1) / 2
    return PairEvidence(
        found.index[:, 0], found.similarity[:, 0], first / np.maximum(second, 1e-12), first / np.maximum(spread, 1e-12)
    )


def pair_threshold(ratios: Array, rate: float = 1e-3) -> float:
    """Samples with d₁/d₂ below this are flagged: among hold-out patients that happens to at most `rate` of them.

    With fewer than 1/`rate` samples the rate cannot be resolved; the threshold is then the smallest hold-out ratio.
    """
    ordered = np.sort(ratios)
    return float(ordered[int(np.floor(rate * len(ordered)))])


@dataclass(frozen=True)
class Fold:
    """Rows of a base, and which of them are of patients who count here, each in one fold."""

    rows: npt.NDArray[np.int64]
    counted: npt.NDArray[np.bool_]


def equal_folds(patients: Sequence[str], size: int, rng: np.random.Generator) -> list[Fold]:
    """The base dealt out by patient into folds of exactly `size` patients (all, if there are fewer).

    The nearest of more slices is nearer, and among few patients the second nearest is far: training folds are as large
    as the hold-out that they are compared with. The last one is filled up with patients who count elsewhere.
    """
    names = np.asarray(patients)
    order = rng.permutation(np.unique(names))
    folds = []
    for i in range(0, len(order), size):
        own = order[i : i + size]
        rows = np.flatnonzero(np.isin(names, np.concatenate([own, order[: size - len(own)]])))
        folds.append(Fold(rows, np.isin(names[rows], own)))
    return folds

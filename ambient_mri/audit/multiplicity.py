"""Many tests, few samples: corrected p-values and exact intervals of proportions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


def holm(p_values: Sequence[float]) -> Array:
    """Adjusted p-values that control the family-wise error under any dependence (Holm 1979)."""
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate((len(p) - np.arange(len(p))) * p[order])
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(stepped, 1)
    return adjusted


def benjamini_hochberg(p_values: Sequence[float] | Array, q: float = 0.1) -> npt.NDArray[np.bool_]:
    """Which hypotheses to reject at false discovery rate `q` (Benjamini and Hochberg 1995).

    Conformal p-values that share one hold-out set are positively dependent, so the bound holds for them
    (Bates et al. 2023, theorem 2).
    """
    p = np.asarray(p_values, np.float64)
    below = np.sort(p) <= q * (1 + np.arange(len(p))) / max(len(p), 1)
    if not below.any():
        return np.zeros(len(p), bool)
    return np.asarray(p <= np.sort(p)[np.flatnonzero(below)[-1]], bool)


def clopper_pearson(hits: int, trials: int, level: float = 0.95) -> tuple[float, float]:
    """Exact two-sided interval of a proportion (Clopper and Pearson 1934)."""
    from scipy.stats import beta

    tail = (1 - level) / 2
    low = float(beta.ppf(tail, hits, trials - hits + 1)) if hits > 0 else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, trials - hits)) if hits < trials else 1.0
    return low, high


def upper_bound(hits: int, trials: int, level: float = 0.95) -> float:
    """One-sided exact upper bound of a proportion; close to 3/`trials` where nothing was hit, at 95 %."""
    return clopper_pearson(hits, trials, 2 * level - 1)[1] if trials else 1.0


def lower_bound(hits: int, trials: int, level: float = 0.95) -> float:
    """One-sided exact lower bound of a proportion."""
    return clopper_pearson(hits, trials, 2 * level - 1)[0] if trials else 0.0

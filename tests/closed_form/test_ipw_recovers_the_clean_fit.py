"""METHOD check 1: inverse-probability weights recover the clean-supervised fit, other trainings do not.

n = 8, AR(1), p = .6 missing, σ = .5, one linear filter a coefficient that all masks share, so that a
weighting error cannot hide. With D independent at δ = .1 the relative distances to the clean fit are
.011 (IPW, 2 million samples), .429 (unweighted), .541 (naive, no D).
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ambient_mri.corruption import Corruption, FurtherCorruption
from ambient_mri.operators import Identity
from ambient_mri.patterns import EmpiricalLines, GaussianLines, Pattern, Pixels, RandomLines
from tests.laws.expectation import generators

N, SIGMA = 8, 0.5
COVARIANCE = 0.9 ** (torch.arange(N)[:, None] - torch.arange(N)).abs().double()


def _fit(inputs: Tensor, weight: Tensor) -> Tensor:
    """The filter that minimises E Σ_j w_j (h_j(input) - x_j)², with exact moments of x and the noise.

    `inputs`, `weight` are `(draws, n)`: what the filter sees, and what each coefficient counts.
    """
    inputs, weight = inputs.double(), weight.double()
    seen = COVARIANCE + SIGMA**2 * torch.eye(N, dtype=torch.float64)
    rows = []
    for j in range(N):
        gram = (inputs * weight[:, j : j + 1]).T @ inputs * seen
        cross = (inputs * weight[:, j : j + 1]).sum(0) * COVARIANCE[j]
        rows.append(torch.linalg.solve(gram, cross))
    return torch.stack(rows)


def _distances(pattern: Pattern, keep: tuple[float, float], draws: int) -> tuple[float, float, float]:
    """Relative distances to the clean fit of IPW, of no weights, and of naive training (no D)."""
    rngs = generators(0, draws)
    A = Corruption(pattern).draw(Identity(), (1, N), rngs)
    further = FurtherCorruption(pattern, keep).draw(A, rngs)
    measured, shown, weight = (t.reshape(-1, N) for t in (A.mask, further.operator.mask, further.weight))
    clean = _fit(shown, torch.ones_like(weight))
    fits = _fit(shown, weight), _fit(shown, measured), _fit(measured, measured)
    ipw, unweighted, naive = (float((fit - clean).norm() / clean.norm()) for fit in fits)
    return ipw, unweighted, naive


@pytest.mark.parametrize(
    ("pattern", "keep", "draws"),
    [
        (Pixels(0.6), (0.9, 0.9), 5000),
        (Pixels(0.6), (0.4, 0.95), 5000),
        (RandomLines(2, 0.0), (0.3, 0.9), 5000),
        (GaussianLines(2.0, 0.0, 0.4), (0.3, 0.7), 2500),
    ],
    ids=str,
)
def test_ipw_recovers_the_clean_fit(pattern: Pattern, keep: tuple[float, float], draws: int) -> None:
    ipw, unweighted, naive = _distances(pattern, keep, draws)
    assert ipw < 0.05
    assert unweighted > 4 * ipw
    assert unweighted > 0.05
    assert naive > 0.3


def test_the_figures_of_independent_masks() -> None:
    """The very law of those figures: units independent with P = .4, D independent with δ = .1, so that q = 1/16."""
    ipw, unweighted, naive = _distances(EmpiricalLines((0.4,) * N), (0.9, 0.9), 10_000)
    assert ipw < 0.07  # weights of 16 on a fortieth of the samples: Monte-Carlo error
    assert unweighted == pytest.approx(0.429, abs=0.04)
    assert naive == pytest.approx(0.541, abs=0.04)

"""Corrections, ranks, intervals, limits, ε: against closed forms and printed tables."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ambient_mri.audit.canaries import epsilon_lower_bound
from ambient_mri.audit.exchangeability import exchangeability
from ambient_mri.audit.multiplicity import benjamini_hochberg, clopper_pearson, holm, upper_bound
from ambient_mri.audit.power import describe, detection_rate, samples_needed, sensitivity


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_corrections_agree_with_scipy_and_keep_order(p: list[float]) -> None:
    from scipy.stats import false_discovery_control

    assert np.array_equal(benjamini_hochberg(p, 0.1), false_discovery_control(p) <= 0.1 + 1e-12) or any(
        abs(q - 0.1) < 1e-9 for q in false_discovery_control(p)
    )
    adjusted = holm(p)
    assert (adjusted >= np.array(p) - 1e-15).all()
    order = np.argsort(p)
    assert (np.diff(adjusted[order]) >= -1e-15).all()


def test_intervals_of_proportions() -> None:
    assert clopper_pearson(0, 10) == pytest.approx((0, 0.3085), abs=1e-4)
    assert clopper_pearson(5, 10) == pytest.approx((0.1871, 0.8129), abs=1e-4)
    assert upper_bound(0, 10_000) == pytest.approx(3 / 10_000, rel=0.01)


@pytest.mark.parametrize(("right", "guesses", "epsilon"), [(100, 100, 3.49), (75, 100, 0.70), (40, 100, 0.0)])
def test_epsilon(right: int, guesses: int, epsilon: float) -> None:
    assert epsilon_lower_bound(right, guesses) == pytest.approx(epsilon, abs=0.005)


def test_randomised_response_exceeds_its_bound_in_at_most_5_percent() -> None:
    """A mechanism of known ε: right with probability eᵋ/(1 + eᵋ)."""
    rng, epsilon = np.random.default_rng(0), 1.0
    right = rng.binomial(100, np.exp(epsilon) / (1 + np.exp(epsilon)), size=2000)
    assert np.mean([epsilon_lower_bound(int(r), 100) > epsilon for r in right]) <= 0.055


def test_a_copy_in_ten_thousand_takes_29956_samples() -> None:
    assert samples_needed(1e-4) == 29956
    assert detection_rate(29956) == pytest.approx(1e-4, rel=1e-4)
    assert detection_rate(1000, patients=5) > detection_rate(1000)
    assert detection_rate(1000, recall=0.5) == pytest.approx(2 * detection_rate(1000))


def test_stated_rate_catches_all_in_95_percent() -> None:
    limits = sensitivity(500, 60, 60)
    rng = np.random.default_rng(0)
    drawn = rng.binomial(500, limits.rate, size=(4000, limits.least_patients))
    assert (drawn > 0).all(1).mean() == pytest.approx(0.95, abs=0.012)


def test_few_patients_are_called_few() -> None:
    limits = sensitivity(1000, 3, 3)
    assert limits.least_patients is None
    assert not limits.adequate
    assert "too few patients" in "\n".join(describe(limits))


def test_a_tie_counts_for_the_hold_out() -> None:
    found = exchangeability(np.array([2.0, 1.0, 3.0]), np.array([2.0, 0.0, 1.0, 3.0]))
    assert found.above == 0
    assert found.p_value == 1
    assert found.conformal.tolist() == [3 / 5, 4 / 5, 2 / 5]
    assert exchangeability(np.array([2.0, 1.0, 3.1]), np.array([2.0, 0.0, 1.0, 3.0])).above == 1

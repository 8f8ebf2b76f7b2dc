"""False-alarm rates and power by simulation: unit vectors are embedded slices, alike within a patient."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from ambient_mri.audit.exchangeability import exchangeability, patient_scores, rank_p_value, smallest_count
from ambient_mri.audit.search import unit

SLICES = 30


def patients(rng: np.random.Generator, count: int, slices: int, dimensions: int, shared: float) -> np.ndarray:
    """`(count, slices, dimensions)` unit vectors with squared correlation `shared` inside a patient."""
    common = rng.standard_normal((count, 1, dimensions))
    own = rng.standard_normal((count, slices, dimensions))
    x = np.sqrt(shared) * common + np.sqrt(1 - shared) * own
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def scores(slices: np.ndarray, samples: np.ndarray) -> np.ndarray:
    return (slices.reshape(-1, slices.shape[-1]) @ samples.T).max(1).reshape(len(slices), -1).max(1)


def test_patient_test_keeps_its_level_and_slice_test_does_not() -> None:
    """47 training and 53 hold-out patients: r ≥ 4 has probability 4.55 %, the discrete level next to 5 %."""
    rng = np.random.default_rng(7)
    repeats, by_patient, by_slice = 3000, 0, 0
    for repeat in range(repeats):
        train, hold = patients(rng, 47, SLICES, 8, 0.9), patients(rng, 53, SLICES, 8, 0.9)
        samples = patients(rng, 100, 1, 8, 0.9).reshape(-1, 8)
        by_patient += exchangeability(scores(train, samples), scores(hold, samples)).p_value < 0.05
        if repeat < 300:
            near = [(x.reshape(-1, 8) @ samples.T).max(1) for x in (train, hold)]
            by_slice += mannwhitneyu(near[0], near[1], alternative="greater").pvalue < 0.05
    assert 0.04 <= by_patient / repeats <= 0.06
    assert by_slice / 300 > 0.15


def test_exact_level_is_that_of_shuffled_patients() -> None:
    rng = np.random.default_rng(1)
    pooled = rng.standard_normal(30)
    counts = []
    for _ in range(20_000):
        order = rng.permutation(pooled)
        counts.append(int((order[:12] > order[12:].max()).sum()))
    for r in (1, 2, 3):
        assert np.mean(np.array(counts) >= r) == pytest.approx(rank_p_value(r, 12, 18), abs=0.01)
    assert smallest_count(200, 200) == 5
    assert smallest_count(2, 3) is None


@pytest.mark.parametrize(("copied", "least"), [(10, 0.9), (5, 0.5)])
def test_copies_of_few_patients_are_found(copied: int, least: float) -> None:
    rng = np.random.default_rng(3)
    hits = 0
    for _ in range(20):
        train, hold = patients(rng, 100, 5, 32, 0.8), patients(rng, 100, 5, 32, 0.8)
        samples = patients(rng, 1000, 1, 32, 0.0).reshape(-1, 32)
        for i, p in enumerate(rng.choice(100, copied, replace=False)):
            samples[i] = unit(train[p, 0] + 0.4 * rng.standard_normal(32) / np.sqrt(32) * np.ones((1, 32)))[0]
        hits += exchangeability(scores(train, samples), scores(hold, samples)).p_value < 0.05
    assert hits / 20 >= least


def test_published_rule_flags_the_innocent_as_often_as_theory_says() -> None:
    """A threshold from n hold-out slices against the nearest of m samples flags 1 - .95^(m/n): why it is not used.

    The threshold is the 95 % quantile, over training slices, of the similarity to the nearest hold-out slice.
    """
    rng = np.random.default_rng(5)
    train, hold, count = 300, 100, 400
    flagged = []
    for _ in range(60):
        t, h, g = (unit(rng.standard_normal((k, 32))) for k in (train, hold, count))
        flagged.append(((t @ g.T).max(1) > np.quantile((t @ h.T).max(1), 0.95)).mean())
    assert np.mean(flagged) == pytest.approx(1 - 0.95 ** (count / hold), abs=0.02)


def test_names_are_wrong_in_at_most_one_of_ten() -> None:
    """Mean false discovery proportion of the list of patients, 15 of 100 copied."""
    rng = np.random.default_rng(11)
    proportions, found = [], []
    for _ in range(400):
        train, hold = rng.standard_normal(100), rng.standard_normal(200)
        train[:15] += 4
        named = exchangeability(train, hold, q=0.1).named
        proportions.append(named[15:].sum() / max(named.sum(), 1))
        found.append(named[:15].mean())
    assert np.mean(proportions) <= 0.1
    assert np.mean(found) > 0.8


def test_everybody_contributes_the_same_number_of_slices() -> None:
    """More slices have a larger maximum: with 20 slices against 2 the test would reject without any copy."""
    rng = np.random.default_rng(2)
    who = [f"a{i}" for i in range(40) for _ in range(20)] + [f"b{i}" for i in range(40) for _ in range(2)]
    rejected = 0
    for _ in range(200):
        largest = rng.standard_normal(len(who))
        names, found = patient_scores(largest, who, 2, rng)
        assert len(names) == 80
        rejected += exchangeability(found[:40], found[40:]).p_value < 0.05
    assert rejected / 200 < 0.08
    names, _ = patient_scores(largest, who, 3, rng)
    assert len(names) == 40  # who has fewer is left out

"""Exact search, near-duplicates, pair evidence."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from ambient_mri.audit.cohort import Side
from ambient_mri.audit.duplicates import near_duplicates
from ambient_mri.audit.pairs import equal_folds, pair_evidence, pair_threshold
from ambient_mri.audit.scoring import scan_pairs
from ambient_mri.audit.search import nearest, unit


def _random(rows: int, seed: int, dimensions: int = 24) -> np.ndarray:
    return unit(np.random.default_rng(seed).standard_normal((rows, dimensions)))


def test_search_is_exact() -> None:
    queries, base = _random(57, 0), _random(211, 1)
    products = queries.astype(np.float64) @ base.astype(np.float64).T
    found = nearest(queries, base, 7)
    assert np.array_equal(found.index, np.argsort(-products, 1)[:, :7])
    assert found.similarity == pytest.approx(np.sort(products, 1)[:, ::-1][:, :7], abs=1e-6)


def test_near_duplicates_are_ranked_in_float64() -> None:
    """Cosines that differ by 1e-9: single-precision products cannot tell them apart, differences can."""
    base = np.repeat(_random(1, 0, 128), 4, 0)
    base[:, 0] += np.array([3e-5, 1e-5, 4e-5, 2e-5], np.float32)
    found = nearest(_random(1, 0, 128), base, 4)
    assert found.index.tolist() == [[1, 3, 0, 2]]


def test_more_neighbours_than_there_are() -> None:
    assert nearest(_random(3, 0), _random(2, 1), 10).index.shape == (3, 2)


def test_second_distance_is_that_of_another_patient() -> None:
    """Neighbouring slices of the copied patient would make d₁/d₂ look ordinary."""
    rng = np.random.default_rng(4)
    base = _random(60, 5)
    base[:10] = unit(base[0] + 0.05 * rng.standard_normal((10, 24)))  # ten slices of one patient
    patients = ["p0"] * 10 + [f"p{i}" for i in range(1, 51)]
    sample = unit(base[3:4] + 0.02 * rng.standard_normal((1, 24)))
    found = pair_evidence(sample, base, patients)
    assert found.nearest[0] in range(10)
    assert found.ratio[0] < 0.2
    assert pair_evidence(sample, base, [str(i) for i in range(60)]).ratio[0] > 1.5 * found.ratio[0]
    assert found.carlini[0] < 0.5


def test_threshold_flags_the_stated_share_of_the_hold_out() -> None:
    ratios = np.random.default_rng(0).random(5000)
    assert (ratios < pair_threshold(ratios, 1e-3)).mean() == pytest.approx(1e-3, abs=2e-4)
    assert (ratios < pair_threshold(ratios[:100], 1e-3)).mean() < 0.05


def test_folds_hold_whole_patients_of_equal_number() -> None:
    patients = [f"p{i // 3}" for i in range(30)]
    folds = equal_folds(patients, 4, np.random.default_rng(0))
    assert [len({patients[row] for row in fold.rows}) for fold in folds] == [4, 4, 4]
    assert sorted(row for fold in folds for row in fold.rows[fold.counted]) == list(range(30)), "each counts once"


@pytest.mark.parametrize(("trained", "held_out"), [(60, 50), (100, 50), (50, 80)])
def test_pairs_of_an_innocent_generator_raise_no_alarm_whatever_the_sizes(trained: int, held_out: int) -> None:
    """A last fold of few patients made pairs look exceptional, as the second nearest among few is far."""
    p_values, flagged, expected = [], 0, 0.0
    for seed in range(120):
        train, hold, samples = (_random(n, 3 * seed + i, 12) for i, n in enumerate((trained, held_out, 80)))
        sides = cast(tuple[Side, Side], tuple(
            SimpleNamespace(patients=[f"{name}{i}" for i in range(n)]) for name, n in (("t", trained), ("h", held_out))
        ))  # fmt: skip
        found = scan_pairs(samples, train, hold, sides, seed)
        p_values.append(found.p_value)
        flagged, expected = flagged + found.summary.flagged_patients, expected + found.summary.expected_patients
    assert np.mean(np.array(p_values) < 0.01) <= 0.03
    assert np.mean(np.array(p_values) < 0.05) <= 0.075
    assert flagged / expected == pytest.approx(1, abs=0.15)


def test_patients_who_are_there_twice_are_found_and_others_are_not() -> None:
    features = _random(80, 9, 64)
    features[70:] = unit(features[:10] + 0.03 * np.random.default_rng(1).standard_normal((10, 64)))
    found = near_duplicates(features, [f"p{i}" for i in range(80)])
    assert {(pair.first, pair.second) for pair in found} == {(i, 70 + i) for i in range(10)}
    same = [f"p{i % 70}" for i in range(80)]
    assert near_duplicates(features, same) == []  # slices of one patient are no duplicates

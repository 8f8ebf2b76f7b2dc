"""Figures of other works: what they do with innocent samples and with copies."""

from __future__ import annotations

import numpy as np
import pytest

from ambient_mri.audit.descriptive import Descriptive, authentic, c_t, describe_copying, likelihood_gap
from ambient_mri.audit.search import Features, nearest, unit

PATIENTS = [f"p{i}" for i in range(150)]


def _rows(count: int, seed: int) -> Features:
    return unit(np.random.default_rng(seed).normal(size=(count, 12)))


def _figures(samples: Features) -> Descriptive:
    return describe_copying(samples, _rows(150, 0), _rows(150, 1), PATIENTS, np.random.default_rng(0))


def test_innocent_samples() -> None:
    figures = _figures(_rows(300, 2))
    assert abs(figures.c_t) < 3
    assert 0.35 < figures.authentic < 0.8
    innocent = [likelihood_gap(_rows(300, 2), _rows(150, 10 + i), _rows(150, 40 + i)) for i in range(4)]
    assert max(innocent) < 15


def test_copies() -> None:
    noise = 0.05 * np.random.default_rng(3).normal(size=(300, 12))
    copying = _figures(unit(np.tile(_rows(150, 0), (2, 1)) + noise))
    innocent = _figures(_rows(300, 2))
    assert copying.c_t < -10
    assert copying.authentic < 0.05
    assert copying.likelihood_gap > innocent.likelihood_gap + 50


def test_c_t_is_the_mann_whitney_z() -> None:
    rng = np.random.default_rng(0)
    z = [c_t(rng.normal(size=80), rng.normal(size=60)) for _ in range(400)]
    assert np.mean(z) == pytest.approx(0, abs=0.15)
    assert np.std(z) == pytest.approx(1, abs=0.12)
    assert c_t(np.zeros(50), np.ones(50)) < -8


def test_slices_of_the_same_patient_are_no_neighbours() -> None:
    """Two slices of each patient that are all but equal: a sample beside them copies, whatever the twin says."""
    train = np.repeat(_rows(40, 0), 2, axis=0) + 1e-3 * np.random.default_rng(1).normal(size=(80, 12))
    names = [f"p{i // 2}" for i in range(80)]
    samples = unit(train[::2] + 0.05 * np.random.default_rng(2).normal(size=(40, 12)))
    assert authentic(nearest(samples, unit(train)), unit(train), names) < 0.05
    assert authentic(nearest(samples, unit(train)), unit(train), [f"q{i}" for i in range(80)]) > 0.9
    assert np.isnan(authentic(nearest(samples, unit(train)), unit(train), ["one"] * 80))

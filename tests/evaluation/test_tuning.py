"""The hill climb finds an interior best, wherever it starts."""

from __future__ import annotations

import math

import pytest

from ambient_mri.evaluation.tuning import HIGHEST, LOWEST, tune


@pytest.mark.parametrize("best", [3e-6, 0.004, 0.05, 17.0])
def test_finds_the_best_strength_within_an_eighth_of_a_decade(best: float) -> None:
    strength, curve = tune(lambda s: -abs(math.log10(s / best)), 0.01)
    assert abs(math.log10(strength / best)) <= 1 / 16 + 1e-9
    assert [s for s, _ in curve] == sorted(s for s, _ in curve)
    assert curve[0][0] < strength < curve[-1][0]
    assert len(curve) < 25


@pytest.mark.parametrize(("sign", "limit"), [(-1, LOWEST), (1, HIGHEST)])
def test_stops_at_the_limits(sign: int, limit: float) -> None:
    strength, _ = tune(lambda s: sign * math.log(s), 0.01)
    assert abs(math.log10(strength / limit)) < 0.5

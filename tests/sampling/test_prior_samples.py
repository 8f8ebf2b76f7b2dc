"""Through which masks samples of the prior are drawn."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
from torch import Tensor

from ambient_mri.corruption import Corruption
from ambient_mri.prior.bundle import load_bundle, load_card
from ambient_mri.prior.card import REFINED
from ambient_mri.prior.shipped import located
from ambient_mri.sampling import prior_samples
from ambient_mri.sampling.prior_samples import STOCHASTIC_BELOW, draw_given, draw_samples
from tests.laws.expectation import generators

DRAWS = 48


def test_samples_are_drawn_through_the_masks_of_scans() -> None:
    """What the mask hides collapses to its mean: one thinned as in training hides more for nothing."""
    card = load_card(located("brain_flair_64"))
    given = draw_given(card, generators(0, DRAWS))
    scans = Corruption(card.pattern()).draw(given.encoding, card.image_shape, generators(1, DRAWS))
    shown, measured = (masked.mask.sum((1, 2, 3)).float() for masked in (given, scans))
    assert abs(float(shown.mean() / measured.mean()) - 1) < 0.03
    assert float(shown.min()) > 0.85 * float(shown.median())


def test_noise_is_added_at_all_levels_to_whole_images_only(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []

    def heun(*_: Any, stochastic_below: float, **__: Any) -> Tensor:
        asked.append(stochastic_below)
        return Tensor()

    monkeypatch.setattr(prior_samples, "heun", heun)
    ambient = load_bundle(located("brain_flair_64"))
    for bundle in (ambient, replace(ambient, card=ambient.card.model_copy(update={"method": REFINED}))):
        draw_samples(bundle, generators(0, 2), 3)
    assert asked == [STOCHASTIC_BELOW, math.inf]

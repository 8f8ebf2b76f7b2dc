"""Through which masks samples of the prior are drawn."""

from __future__ import annotations

from ambient_mri.corruption import Corruption
from ambient_mri.prior.bundle import load_card
from ambient_mri.prior.shipped import located
from ambient_mri.sampling.prior_samples import draw_given
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

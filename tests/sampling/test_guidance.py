"""Reconstruction guidance: masks agree more, for a Gaussian with a known answer."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from ambient_mri.errors import InputError
from ambient_mri.operators import Identity, Masked
from ambient_mri.sampling.guidance import guided
from tests.closed_form.gaussian import GaussianPrior, covariance
from tests.laws.expectation import generators
from tests.laws.operators import relative
from tests.laws.reproducibility import check_global_state_untouched

SHAPE, CHAINS = (1, 6), 60
PRIOR = GaussianPrior(covariance(SHAPE, 0.9))


def _masks(count: int) -> list[Masked]:
    rows = ([1, 0, 1, 1, 0, 0], [0, 1, 1, 0, 1, 0], [1, 1, 0, 0, 0, 1])
    return [Masked(Identity(), torch.tensor(row).bool().expand(count, 1, 1, 6)) for row in rows]


def _sample(weight: float) -> Tensor:
    return guided(PRIOR, _masks(CHAINS), generators(0, CHAINS), SHAPE, steps=12, low=0.02, weight=weight)


def _hidden_by(samples: Tensor) -> float:
    """What the first mask fills in, beside what it makes of the sample: 0 for samples that it can predict."""
    return float(samples.abs().square().mean())


def test_guidance_changes_what_the_first_mask_shows_and_stays_finite() -> None:
    plain, with_guidance = _sample(0.0), _sample(1.0)
    assert bool(with_guidance.isfinite().all())
    assert relative(with_guidance, plain) > 0.02
    assert _hidden_by(with_guidance) > 0.3 * _hidden_by(plain)


def test_masks_agree_more() -> None:
    """x_t at the end, seen through two masks, gives more similar images."""

    def disagreement(weight: float) -> float:
        shown: list[Tensor] = []

        class Listens:
            def denoise(self, x_in: Tensor, sigma: Tensor, given: Masked) -> Tensor:
                shown.append(PRIOR.denoise(x_in, sigma, given))
                return shown[-1]

        guided(Listens(), _masks(CHAINS), generators(0, CHAINS), SHAPE, steps=12, low=0.02, weight=weight)
        first, *others = (image.detach() for image in shown[-4:-1])
        return sum(float((first - other).abs().square().sum()) for other in others)

    assert disagreement(1.0) < 0.7 * disagreement(0.0)


def test_guided_samples_are_reproducible() -> None:
    def draw(rows: Sequence[int]) -> Tensor:
        rngs = [generators(0, 4)[row] for row in rows]
        return guided(PRIOR, _masks(len(rngs)), rngs, SHAPE, steps=4, low=0.02, weight=1.0)

    check_global_state_untouched(lambda: draw([0]))
    assert relative(torch.cat([draw([i]) for i in range(4)]), draw(range(4))) < 1e-4


def test_one_mask_cannot_be_compared() -> None:
    with pytest.raises(InputError, match="at least two"):
        guided(PRIOR, _masks(2)[:1], generators(0, 2), SHAPE, low=0.02)

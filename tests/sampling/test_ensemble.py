"""K samples: mean, standard deviation and credible intervals, whatever the batch."""

from __future__ import annotations

import pytest
import torch
from torch import Generator

from ambient_mri.errors import InputError
from ambient_mri.sampling.ensemble import Ensemble, ensemble
from ambient_mri.sampling.mmps import mmps
from tests.closed_form.gaussian import DOUBLE
from tests.closed_form.posterior import pixels, smooth
from tests.laws.operators import complex_normal, dense, relative

PROBLEM = pixels(smooth((1, 16)))
IDS = [f"scan/{i}" for i in range(PROBLEM.scans)]


@pytest.fixture(scope="module")
def drawn() -> Ensemble:
    observed, _ = PROBLEM.observe()
    return ensemble(mmps, PROBLEM.prior, observed, IDS, PROBLEM.levels(50, 1), samples=8, at_once=240)


def test_the_batch_size_changes_nothing(drawn: Ensemble) -> None:
    observed, _ = PROBLEM.observe()
    some = ensemble(
        mmps, PROBLEM.prior, observed[[4, 2]], [IDS[4], IDS[2]], PROBLEM.levels(50, 1), samples=3, at_once=2
    )
    assert relative(some.samples, drawn.samples[[4, 2], :3]) < 1e-4
    other = ensemble(mmps, PROBLEM.prior, observed[[4]], [IDS[4]], PROBLEM.levels(50, 1), samples=2, seed=1)
    assert relative(other.samples, drawn.samples[[4], :2]) > 0.05


def test_mirrored_samples_have_the_posterior_mean(drawn: Ensemble) -> None:
    """Eight independent samples would be a third of the posterior's spread away from its mean."""
    _, y = PROBLEM.observe()
    _, means, covariances = PROBLEM.prior.given(dense(PROBLEM.A, PROBLEM.shape, DOUBLE), PROBLEM.noise_std, y)
    mean, spread = means[:, 0], covariances[0].diagonal().real.sum().sqrt()
    off = (drawn.mean[:, 0, 0] - mean).abs().square().sum(1).mean().sqrt() / spread
    assert float(off) < 0.1
    independent = drawn.samples[:, ::2].mean(1)[:, 0]
    assert float((independent - mean).abs().square().sum(1).mean().sqrt() / spread) > 0.3


def test_intervals_cover() -> None:
    """Truth and 39 independent samples of one law: the share inside is the nominal one."""
    values = complex_normal(40, 200, 20, rng=Generator().manual_seed(0))
    samples = Ensemble(values[:39].permute(1, 0, 2)[:, :, None, :])
    truth = values[39][:, None, None, :].abs()
    for level in (0.5, 0.9):
        low, high = samples.interval(level)
        assert low.shape == (200, 1, 1, 20)
        inside = float(((truth >= low) & (truth <= high)).float().mean())
        assert inside == pytest.approx(level, abs=0.02)
    assert float(samples.std.mean()) == pytest.approx(values.abs().std().item(), rel=0.05)


def test_one_sample_has_no_spread() -> None:
    one = Ensemble(torch.zeros(2, 1, 4, 4, dtype=torch.complex64))
    with pytest.raises(InputError, match="one sample gives no standard deviation"):
        _ = one.std
    with pytest.raises(InputError, match="one sample gives no interval"):
        one.interval()

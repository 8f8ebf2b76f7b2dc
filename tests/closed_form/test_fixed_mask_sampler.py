"""METHOD check 4: what prior samples look like through a fixed mask, and why the mask must not be redrawn."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch
from torch import Generator, Tensor

from ambient_mri.operators import Identity, Masked, Sense
from ambient_mri.sampling.prior_samples import STOCHASTIC_BELOW, Lifted, heun, noise_levels
from tests.closed_form.gaussian import DOUBLE, GaussianPrior, covariance, maps
from tests.laws.expectation import generators
from tests.laws.operators import complex_normal, dense, relative

SHAPE, CHAINS = (1, 6), 2500
OBSERVED = torch.tensor([True, False, True, True, False, False])
GIVEN = Masked(Identity(), OBSERVED.reshape(1, 1, 1, 6).expand(CHAINS, -1, -1, -1))


@dataclass
class Affordable:
    """The Gaussian prior with one matrix for all chains; notes which masks it was shown."""

    exact: GaussianPrior
    shown: list[Tensor] = field(default_factory=list)

    def denoise(self, x_in: Tensor, sigma: Tensor, given: Masked) -> Tensor:
        self.shown.append(given.mask)
        basis = torch.eye(6, dtype=DOUBLE).reshape(6, 1, *SHAPE)
        matrix = self.exact.denoise(basis, sigma[:1].expand(6), Masked(given.encoding, given.mask[:1])).reshape(6, 6)
        return (x_in.flatten(1) @ matrix.to(x_in.dtype)).reshape(x_in.shape)


@dataclass
class Redraws:
    """What must not be done: another Ã at every evaluation."""

    inner: Affordable
    rng: Generator

    def denoise(self, x_in: Tensor, sigma: Tensor, given: Masked) -> Tensor:
        mask = (torch.rand(1, 1, 1, 6, generator=self.rng) < 0.5).expand(len(x_in), -1, -1, -1)
        return self.inner.denoise(torch.where(mask, x_in, 0), sigma, Masked(Identity(), mask))


@dataclass
class Mistaken:
    """A prior that is wrong at large noise levels, as networks are."""

    inner: Affordable

    def denoise(self, x_in: Tensor, sigma: Tensor, given: Masked) -> Tensor:
        return (0.0 if float(sigma[0]) > 1 else 1.0) * self.inner.denoise(x_in, sigma, given)


def _second_moment(x: Tensor) -> Tensor:
    x = x.flatten(1).to(DOUBLE)
    return x.T @ x.conj() / len(x)


@pytest.fixture(scope="module")
def sampled() -> tuple[Tensor, Affordable]:
    prior = Affordable(GaussianPrior(covariance(SHAPE)))
    return heun(prior, GIVEN, generators(0, CHAINS), SHAPE, steps=30, low=0.005), prior


def test_observed_and_unobserved_covariances(sampled: tuple[Tensor, Affordable]) -> None:
    """Σ_oo where the mask shows, Σ_uo Σ_oo⁻¹ Σ_ou (less than Σ_uu) where it hides."""
    prior, moment = covariance(SHAPE), _second_moment(sampled[0])
    o, u = OBSERVED.nonzero().flatten(), (~OBSERVED).nonzero().flatten()
    seen = prior[o][:, o]
    filled = prior[u][:, o] @ torch.linalg.inv(seen) @ prior[o][:, u]
    assert relative(moment[o][:, o], seen) < 0.07
    assert relative(moment[u][:, u], filled) < 0.07
    assert relative(moment[u][:, o], prior[u][:, o]) < 0.07
    assert float(filled.diagonal().real.sum() / prior[u][:, u].diagonal().real.sum()) < 0.85


def test_noise_added_on_the_way_repairs_what_larger_noise_levels_got_wrong() -> None:
    prior = Mistaken(Affordable(GaussianPrior(covariance(SHAPE))))
    everything = Masked(Identity(), torch.ones(CHAINS, 1, 1, 6, dtype=torch.bool))
    missing = []
    for below in (STOCHASTIC_BELOW, 0.0):
        x = heun(prior, everything, generators(0, CHAINS), SHAPE, steps=18, low=0.005, stochastic_below=below)
        missing.append(1 - float(_second_moment(x).trace().real / covariance(SHAPE).trace().real))
    assert missing[0] < 0.6 * missing[1]
    assert missing[1] > 0.1


def test_the_mask_stays_the_same(sampled: tuple[Tensor, Affordable]) -> None:
    shown = sampled[1].shown
    assert len(shown) == 2 * 30 - 1
    assert all(torch.equal(mask, GIVEN.mask) for mask in shown)


def test_redrawing_the_mask_collapses_the_variance(sampled: tuple[Tensor, Affordable]) -> None:
    prior = Redraws(Affordable(GaussianPrior(covariance(SHAPE))), Generator().manual_seed(0))
    everything = Masked(Identity(), torch.ones(CHAINS, 1, 1, 6, dtype=torch.bool))
    collapsed = heun(prior, everything, generators(0, CHAINS), SHAPE, steps=30, low=0.005)
    trace = [float(_second_moment(x).diagonal().real.sum()) for x in (collapsed, sampled[0])]
    assert trace[0] < 0.7 * trace[1]


def test_lifted_noise_is_white_on_every_coil() -> None:
    """The input's noise has the covariance of training, 2σ²ÃᴴÃ; without the lift it would be 2σ²(ÃᴴÃ)²."""
    shape, count, sigma = (2, 5), 6000, 0.7
    mask = torch.tensor([True, False, True, True, False]).reshape(1, 1, 1, 5)
    given = Masked(Sense(maps(shape).to(torch.complex64)), mask.expand(count, -1, -1, -1))
    noise = sigma * complex_normal(count, 1, *shape, rng=Generator().manual_seed(0))
    found = _second_moment(Lifted(given, generators(1, count), shape)(noise, sigma))
    forward = dense(Masked(Sense(maps(shape)), mask), shape, DOUBLE)
    normal = forward.mH @ forward
    assert relative(found, 2 * sigma**2 * normal) < 0.06
    assert relative(2 * sigma**2 * normal @ normal, 2 * sigma**2 * normal) > 0.15
    assert relative(_second_moment(given.normal(noise)), 2 * sigma**2 * normal) > 0.15


def test_noise_levels() -> None:
    levels = noise_levels(18, 0.02, 20.0)
    assert levels[0] == pytest.approx(20)
    assert levels[-1] == pytest.approx(0.02)
    assert levels == sorted(levels, reverse=True)
    assert levels[9] == pytest.approx((20 ** (1 / 7) + 9 / 17 * (0.02 ** (1 / 7) - 20 ** (1 / 7))) ** 7)

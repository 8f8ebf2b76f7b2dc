"""Muon: factors, its steps against an SVD, and which weights it gets."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ambient_mri.prior.learner import FINAL_RATE, PEAK_RATE, WARM_UP_STEPS, Learner
from ambient_mri.prior.muon import Muon, orthogonal_factor
from ambient_mri.prior.network import architecture, build_network


@pytest.mark.parametrize("shape", [(3, 8, 20), (3, 20, 8), (2, 9, 9)])
def test_factor_has_the_singular_vectors_of_the_matrix_and_values_about_one(shape: tuple[int, ...]) -> None:
    """UVᵀ by SVD is the oracle: same vectors, values between .6 and 1.3."""
    matrices = torch.randn(*shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u, s, vh = torch.linalg.svd(matrices, full_matrices=False)
    matrices = u * s.clamp_min(0.2)[:, None, :] @ vh  # the iteration brings only values that are not tiny to 1
    inside = u.mT @ orthogonal_factor(matrices) @ vh.mT
    values = inside.diagonal(dim1=1, dim2=2)
    assert float((inside - torch.diag_embed(values)).abs().max()) < 1e-10
    assert 0.6 < float(values.min()) <= float(values.max()) < 1.3


def test_zero_gradients_make_no_step_and_no_nan() -> None:
    weight = nn.Parameter(torch.ones(4, 6))
    weight.grad = torch.zeros(4, 6)
    Muon([weight], lr=0.1).step()
    assert torch.equal(weight.detach(), torch.ones(4, 6))


def test_a_step_follows_the_momentum_and_has_the_stated_size() -> None:
    generator = torch.Generator().manual_seed(1)
    kernel = nn.Parameter(torch.zeros(16, 4, 3, 3))
    optimiser = Muon([kernel], lr=0.5, momentum=0.9, update_rms=0.4)
    momentum = torch.zeros(16, 36)
    for _ in range(3):
        before = kernel.detach().clone()
        kernel.grad = torch.randn(16, 4, 3, 3, generator=generator)
        optimiser.step()
        gradient = kernel.grad.flatten(1)
        momentum = 0.9 * momentum + 0.1 * gradient
        moved = (kernel.detach() - before).flatten(1)
        expected = -orthogonal_factor((0.1 * gradient + 0.9 * momentum)[None])[0] * 0.5 * 0.4 * 6
        assert torch.allclose(moved, expected, atol=1e-5)
        assert float(moved.square().mean().sqrt()) == pytest.approx(0.5 * 0.4, rel=0.3)


def test_equal_shapes_together_step_as_each_alone() -> None:
    def weights() -> list[nn.Parameter]:
        generator = torch.Generator().manual_seed(2)
        made = [nn.Parameter(torch.randn(6, 10, generator=generator)) for _ in range(3)]
        for weight in made:
            weight.grad = torch.randn(6, 10, generator=generator)
        return made

    together, alone = weights(), weights()
    Muon(together, lr=0.1).step()
    for weight in alone:
        Muon([weight], lr=0.1).step()
    for one, other in zip(together, alone, strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_the_rate_rises_to_its_peak_and_falls() -> None:
    network = build_network(architecture("tiny"), 0)
    learner, usual = Learner.start(network, torch.float32, 3e-4), Learner.start(network, torch.float32)
    lowest = Learner.start(network, torch.float32, 1e-6)
    for one in (learner, usual, lowest):
        one.step = WARM_UP_STEPS
    assert learner.rate(0) == pytest.approx(3e-4)
    assert usual.rate(0) == pytest.approx(PEAK_RATE)
    assert learner.rate(0.5) == pytest.approx((3e-4 + FINAL_RATE) / 2)
    assert learner.rate(1) == pytest.approx(FINAL_RATE)
    assert lowest.rate(1) == lowest.rate(0) == pytest.approx(1e-6), "below the usual end it does not rise"
    learner.step = 0
    assert learner.rate(0) == pytest.approx(3e-4 / WARM_UP_STEPS)


def test_every_weight_has_one_optimiser_and_the_ends_are_not_orthogonalised() -> None:
    network = build_network(architecture("tiny"), 0)
    learner = Learner.start(network, torch.float32)
    steered = [id(weight) for optimiser in learner.optimisers for g in optimiser.param_groups for weight in g["params"]]
    assert sorted(steered) == sorted(id(weight) for weight in network.parameters())
    inner = {id(weight) for weight in network.inner_matrices()}
    names = {name for name, weight in network.named_parameters() if id(weight) not in inner and weight.ndim >= 2}
    assert len(names) == 4 * 2  # first, last, and two of the noise level, of two stages

"""METHOD check 6: one network evaluation is the posterior mean where the prior is exact; then the solve."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Generator

from ambient_mri.measurement import Measurement
from ambient_mri.operators import Sense
from ambient_mri.sampling.one_step import one_step
from tests.closed_form.gaussian import DOUBLE, ENCODINGS, GaussianPrior, covariance, posterior_matrix
from tests.laws.operators import complex_normal, relative

SHAPE, NOISE = (3, 7), 0.05


def _measurement(kind: str, scans: int = 3) -> Measurement:
    encoding = ENCODINGS[kind](SHAPE)
    rng = Generator().manual_seed(0)
    root = torch.linalg.cholesky(covariance(SHAPE))
    x = (complex_normal(scans, 21, rng=rng, dtype=DOUBLE) / 2**0.5 @ root.T).reshape(scans, 1, *SHAPE)
    y = encoding.forward(x)
    y = y + NOISE * complex_normal(*y.shape, rng=rng, dtype=DOUBLE)
    mask = torch.rand(scans, 1, 1, SHAPE[1], generator=rng) < 0.6
    maps = encoding.maps.expand(scans, -1, -1, -1) if isinstance(encoding, Sense) else None
    return Measurement(
        y=torch.where(mask, y, torch.nan), mask=mask, sensitivity_maps=maps,
        noise_std=torch.full((scans,), NOISE, dtype=torch.float64), scale=torch.ones(scans),
        domain="image" if kind == "pixels" else "kspace", scan_ids=tuple("abc"),
    )  # fmt: skip


@pytest.mark.parametrize("kind", ENCODINGS)
def test_one_step_is_the_posterior_mean(kind: str) -> None:
    scans = _measurement(kind)
    found = one_step(GaussianPrior(covariance(SHAPE)), scans)
    for i in range(len(scans)):
        A = scans[[i]].operator()
        y = scans[[i]].without_unmeasured().y.flatten()
        expected = posterior_matrix(NOISE, A, covariance(SHAPE), SHAPE) @ y
        assert relative(found[i].flatten(), expected) < 1e-6


@pytest.mark.parametrize("kind", ENCODINGS)
@pytest.mark.parametrize("consistency", [1e-3, 0.1])
def test_the_solve_minimises_what_it_says(kind: str, consistency: float) -> None:
    """Aᴴ(Ax - y) + λ(x - h) = 0."""
    scans, prior = _measurement(kind), GaussianPrior(covariance(SHAPE))
    network, x = one_step(prior, scans), one_step(prior, scans, consistency=consistency)
    A = scans.operator()
    assert relative(A.normal(x) + consistency * x, scans.adjoint() + consistency * network) < 1e-4


def test_the_prior_hears_the_noise_level_of_the_scan_but_never_below_training() -> None:
    heard = []

    class Listens:
        def denoise(self, x_in: torch.Tensor, sigma: torch.Tensor, given: object) -> torch.Tensor:
            heard.append(sigma)
            return x_in

    scans = _measurement("coils")
    one_step(Listens(), replace(scans, noise_std=torch.tensor([0.0, 0.02, 0.05])))
    assert heard[0].tolist() == pytest.approx([0.005, 0.02, 0.05])

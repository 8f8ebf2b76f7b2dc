"""EM converges to the distribution behind masked, noisy measurements (Rozet et al. 2024), for Gaussian images.

Only masked scans enter; the truth is looked at in the end. E-steps are the package's MMPS and DDS, the M-step's model
is the one that its loss is least for.
"""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Generator, Tensor

from ambient_mri.measurement import collate
from ambient_mri.operators import Identity, Masked
from ambient_mri.patterns import Pixels
from ambient_mri.prior.imputed import everything
from ambient_mri.prior.maximisation import LOG_MEAN, LOG_STD, draw
from ambient_mri.prior.objective import ambient_loss
from ambient_mri.prior.preconditioning import output_scale
from ambient_mri.randomness import stream, white
from ambient_mri.sampling.annealing import schedule
from ambient_mri.sampling.dds import dds
from ambient_mri.sampling.mmps import mmps
from ambient_mri.sampling.observation import Observation
from tests.closed_form.gaussian import DOUBLE, LinearPrior, covariance
from tests.closed_form.posterior import Mixture, smooth
from tests.laws.expectation import generators

SHAPE, SCANS, NOISE = (1, 16), 700, 0.05
TRUE = covariance(SHAPE, 0.9, 0.5)


def _gaussian(matrix: Tensor) -> Mixture:
    return Mixture(torch.ones(1, dtype=torch.float64), torch.zeros(1, 16, dtype=DOUBLE), matrix[None])


def _observed() -> Observation:
    """Half of the pixels of every image, those not measured NaN."""
    rng = Generator().manual_seed(0)
    x = _gaussian(TRUE).draw(SCANS, rng).reshape(-1, 1, *SHAPE).to(torch.complex64)
    mask = torch.stack([Pixels(0.5).draw(SHAPE, rng)[None] for _ in range(SCANS)])
    y = x + NOISE * white((SCANS, 1, *SHAPE), rng)
    return Observation(Masked(Identity(), mask), torch.where(mask, y, torch.nan), torch.full((SCANS,), NOISE), SHAPE)


def _covariance_of(images: Tensor) -> Tensor:
    flat = images.flatten(1).to(DOUBLE)
    return flat.T @ flat.conj() / len(flat)


def _error(found: Tensor) -> float:
    return float((found - TRUE).norm() / TRUE.norm())


@pytest.mark.parametrize("sampler", [mmps, dds], ids=["mmps", "dds"])
def test_laps_converge_to_the_true_covariance(sampler: object) -> None:
    observed, model = _observed(), 0.5 * torch.eye(16, dtype=DOUBLE)  # what is known before the first lap: the size
    levels = schedule(24 if sampler is mmps else 60, NOISE / 4, corrections=1 if sampler is mmps else 4, high=5.0)
    errors = [_error(model)]
    for lap in range(6):
        images = sampler(_gaussian(model), observed, generators(lap, SCANS), levels)  # type: ignore[operator]
        model = _covariance_of(images)
        errors.append(_error(model))
    assert errors[0] > 0.75
    assert all(later < earlier for earlier, later in pairwise(errors[:5])), errors
    assert errors[-1] < 0.13, errors
    trace = float(model.diagonal().real.sum() / TRUE.diagonal().real.sum())
    assert trace == pytest.approx(1, abs=0.06), "self-consumption did not shrink the images"


def test_the_loss_of_the_m_step_is_least_at_the_denoiser_of_its_images() -> None:
    """W = Σ̂ (Σ̂ + 2σ²)⁻¹ with Σ̂ the second moment of the images: the gradient there is that of Monte-Carlo noise."""
    rng, sigma = Generator().manual_seed(3), 0.3
    images = smooth(SHAPE, 0.9).draw(4000, rng).reshape(-1, 1, *SHAPE).to(torch.complex64)
    batch = collate([everything(image[None], coils=False, scan_id=str(i)) for i, image in enumerate(images)])
    found = _covariance_of(images)
    best = (found @ torch.linalg.inv(found + 2 * sigma**2 * torch.eye(16, dtype=DOUBLE))).to(torch.complex64)
    drawn = draw(batch, generators(5, len(images)))
    level = torch.full((len(images),), sigma)

    def gradient(matrix: Tensor) -> float:
        leaf = matrix.clone().requires_grad_()
        loss = ambient_loss(
            LinearPrior(leaf), batch.y, batch.operator(), drawn.further, level, batch.noise_std, drawn.noise
        ).mean()
        loss.backward()
        assert leaf.grad is not None
        return float(leaf.grad.norm())

    assert gradient(best) < 0.1 * gradient(0.9 * best)
    assert gradient(best) < 0.1 * gradient(torch.eye(16, dtype=torch.complex64))


def test_the_loss_of_the_m_step_is_edms_with_coils_and_without() -> None:
    """‖D(x + σn) - x‖² / c_out² per pixel (Karras et al. 2022, eq. 8), for D = ½."""
    image = white((1, 1, 6, 4), Generator().manual_seed(1))
    found = []
    for coils in (False, True):
        seen = everything(image, coils, "scan")
        drawn = draw(seen, [stream(0, "test")])

        class Half:
            def denoise(self, x_in: Tensor, sigma: Tensor, given: Masked) -> Tensor:
                return x_in / 2

        loss = ambient_loss(Half(), seen.y, seen.operator(), drawn.further, drawn.sigma, seen.noise_std, drawn.noise)
        noise = seen.encoding().adjoint(drawn.noise)
        expected = ((image + drawn.sigma * noise) / 2 - image).abs().square().mean() / output_scale(drawn.sigma) ** 2
        assert torch.allclose(loss, expected, rtol=1e-4)
        found.append(float(drawn.sigma))
    assert found[0] == found[1]


def test_levels_of_the_m_step_follow_their_law() -> None:
    batch = collate([everything(torch.zeros(1, 1, 2, 2, dtype=torch.complex64), False, str(i)) for i in range(2000)])
    logs = draw(batch, generators(0, 2000)).sigma.log()
    assert float(logs.mean()) == pytest.approx(LOG_MEAN, abs=0.1)
    assert float(logs.std()) == pytest.approx(LOG_STD, abs=0.1)
    assert math.exp(float(logs.min())) >= 0.005

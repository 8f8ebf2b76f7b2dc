"""METHOD checks 3 and 7: the minimiser of the ambient loss is the posterior mean ΣÃᴴ(ÃΣÃᴴ + σ²I)⁻¹ỹ.

The loss is quadratic in a linear prior, so its expectation over Gaussian images and noise is computed
exactly, from an ensemble with exact second moments and from all A that Ã allows.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ambient_mri.corruption import Further
from ambient_mri.operators import Masked
from ambient_mri.patterns import RandomLines
from ambient_mri.prior.objective import ambient_loss
from tests.closed_form.gaussian import (
    DOUBLE,
    ENCODINGS,
    GaussianPrior,
    LinearPrior,
    covariance,
    exact_ensemble,
    posterior_matrix,
)

SHAPE = (2, 5)
PIXELS = SHAPE[0] * SHAPE[1]
SHOWN = torch.tensor([False, True, False, True, False]).reshape(1, 1, 1, 5)


class Expectation:
    """The expected ambient loss of linear priors for one Ã, one σ and σ_y, exact."""

    def __init__(
        self, kind: str, sigma: float, noise_std: float, *, weighted: bool = True, tweedie: bool = True
    ) -> None:
        encoding, pattern = ENCODINGS[kind](SHAPE), RandomLines(5 / 3, 0.0)
        extra = torch.eye(5, dtype=torch.bool)[~SHOWN.flatten()]  # A = Ã and one of the other lines
        masks = SHOWN | extra[:, None, None, :]
        samples = encoding.forward(torch.zeros(1, 1, *SHAPE, dtype=DOUBLE)).numel()
        z = exact_ensemble(PIXELS + 2 * samples)
        repeat = len(masks)
        white = z.repeat(repeat, 1)
        root = torch.linalg.cholesky(covariance(SHAPE))
        x = (white[:, :PIXELS] @ root.T).reshape(-1, 1, *SHAPE)
        e, self.noise = (2**0.5 * part.reshape(len(x), -1, *SHAPE) for part in white[:, PIXELS:].split(samples, dim=1))
        self.A = Masked(encoding, masks.repeat_interleave(len(z), 0))
        self.y = encoding.forward(x) + noise_std * e
        shown = Masked(encoding, SHOWN.expand(len(x), -1, -1, -1))
        q = torch.stack([pattern.given(SHOWN[0, 0], mask[0], 0.6)[None] for mask in self.A.mask])
        self.further = Further(shown, torch.where(self.A.mask, 1 / q if weighted else 1.0, 0.0))
        self.sigma, self.noise_std = (torch.full((len(x),), v, dtype=torch.float64) for v in (sigma, noise_std))
        added = (sigma**2 - noise_std**2) ** 0.5
        self.x_in = shown.adjoint(self.y + added * self.noise).flatten(1)
        if not tweedie:  # the same input, compared with y itself where it was shown
            self.noise, self.noise_std = self.noise * added / sigma, torch.zeros_like(self.noise_std)

    def loss(self, parameters: Tensor) -> Tensor:
        matrix = torch.view_as_complex(parameters.reshape(PIXELS, PIXELS, 2))
        prior = LinearPrior(matrix)
        return ambient_loss(prior, self.y, self.A, self.further, self.sigma, self.noise_std, self.noise).mean()

    def minimiser(self) -> Tensor:
        """L by one Newton step from 0, exact for a quadratic; directions that Ã never shows stay 0."""
        start = torch.zeros(2 * PIXELS**2, dtype=torch.float64, requires_grad=True)
        (gradient,) = torch.autograd.grad(self.loss(start), start)
        hessian = torch.autograd.functional.hessian(self.loss, start.detach(), vectorize=True)
        step = torch.linalg.lstsq(hessian, -gradient[:, None], driver="gelsd", rcond=1e-11).solution[:, 0]
        return torch.view_as_complex(step.reshape(PIXELS, PIXELS, 2))

    def distance(self, sigma: float) -> float:
        """Relative distance of what the minimiser and Bayes make of the inputs."""
        shown = Masked(self.A.encoding, SHOWN)
        bayes = GaussianPrior(covariance(SHAPE)).denoise(
            self.x_in.reshape(-1, 1, *SHAPE), torch.full((len(self.x_in),), sigma), shown
        )
        ours = self.x_in @ self.minimiser().T
        return float((ours - bayes.flatten(1)).norm() / bayes.norm())


@pytest.mark.parametrize("kind", ENCODINGS)
@pytest.mark.parametrize("sigma", [0.05, 0.5, 3.0])
def test_closed_forms_agree(kind: str, sigma: float) -> None:
    """(N + 2σ²Σ⁻¹)⁻¹Ãᴴ = ΣÃᴴ(ÃΣÃᴴ + 2σ²I)⁻¹: the image Ãᴴỹ is enough, with several coils too."""
    operator = Masked(ENCODINGS[kind](SHAPE), SHOWN)
    expected = posterior_matrix(sigma, operator, covariance(SHAPE), SHAPE)
    basis = torch.eye(expected.shape[1], dtype=DOUBLE).reshape(expected.shape[1], -1, *SHAPE)
    found = GaussianPrior(covariance(SHAPE)).denoise(
        operator.adjoint(basis), torch.full((len(basis),), sigma, dtype=torch.float64), operator
    )
    assert torch.allclose(found.flatten(1).T, expected, atol=1e-10)


@pytest.mark.parametrize("kind", ENCODINGS)
@pytest.mark.parametrize(("sigma", "noise_std"), [(0.05, 0.0), (0.5, 0.0), (3.0, 0.0), (0.5, 0.3), (3.0, 0.3)])
def test_the_minimiser_is_the_posterior_mean(kind: str, sigma: float, noise_std: float) -> None:
    assert Expectation(kind, sigma, noise_std).distance(sigma) < 1e-5


@pytest.mark.parametrize("kind", ENCODINGS)
def test_the_plain_loss_on_what_was_shown_learns_the_noise(kind: str) -> None:
    assert Expectation(kind, 0.5, 0.3, tweedie=False).distance(0.5) > 0.1
    assert Expectation(kind, 0.5, 0.3).distance(0.5) < 1e-5


def test_a_flexible_model_forgives_missing_weights() -> None:
    """A prior with a matrix for each mask hides a weighting error on one coil: why check 1 shares its filter."""
    assert Expectation("pixels", 0.5, 0.0, weighted=False).distance(0.5) < 1e-5

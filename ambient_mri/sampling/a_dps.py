"""Ambient diffusion posterior sampling (Aali et al. 2025) with a step that anneals, in units of the noise.

An ambient network h is asked through a fixed Ã, and the gradient of ‖y - A h‖² pulls x_t towards the data. The
published step, ζ/‖r‖, is the same at all levels and for all noise. Here it is the optimal one along the gradient
g = (∂h/∂x_t)ᵀ Aᴴ r, r = y - A h: taking σ² ∂h/∂x_t for the covariance of x given x_t, as Tweedie has it,

    E[x | x_t, y] ≈ h + α σ² g ,      α = ‖r‖² / (σ_y² ‖r‖² + σ² ⟨Aᴴr, g⟩)

which is one step of conjugate gradients on the system of MMPS. α is at most 1/σ_y² and falls as what is unknown
grows beyond the noise, so that the residual ends at σ_y. Solving that system to the end would trust ∂h/∂x_t in every
direction, and with a fixed Ã it is no covariance; one step trusts it along g only. One network evaluation and one
backward pass a level.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from ambient_mri.sampling.annealing import anneal, start
from ambient_mri.sampling.observation import Observation
from ambient_mri.sampling.prior_samples import Lifted
from ambient_mri.sampling.proper import require_ambient

CORRECTIONS = 3


def a_dps(
    prior: object, observed: Observation, rngs: Sequence[Generator], levels: Sequence[float], *, strength: float = 1.0
) -> Tensor:
    """Posterior samples `(b, 1, y, x)`, one a row of `observed`; row i uses `rngs[i]` only.

    Parameters
    ----------
    prior
        `Ambient`.
    levels
        From `annealing.schedule`; as many network evaluations.
    strength
        Multiplies σ_y² in the step: more leans on the prior.

    Raises
    ------
    InputError
        If the prior is not an ambient one.
    """
    ambient = require_ambient(prior, observed, "a-dps")
    given = ambient.given(observed, rngs)
    lifted = Lifted(given, rngs, observed.shape)
    noise = strength * observed.variance

    def estimate(x: Tensor, sigma: float) -> Tensor:
        with torch.enable_grad():
            x_t = x.detach().requires_grad_()
            level = torch.full((len(x),), sigma, device=x.device)
            found = ambient.prior.denoise(lifted(x_t, sigma), level, given)
            residual = observed.residual(found.detach())
            pull = observed.A.adjoint(residual)
            (gradient,) = torch.autograd.grad(found, x_t, pull)
        size = _inner(residual, residual)
        # a covariance σ²J with J ≤ 1 has ⟨v, Jv⟩ ≥ ‖Jv‖²: never binds for one, bounds the step for what is none
        curvature = torch.maximum(_inner(pull, gradient), _inner(gradient, gradient))
        step = sigma**2 * size / (noise * size + sigma**2 * curvature).clamp_min(1e-20)
        return found.detach() + step * gradient

    with torch.no_grad():
        return anneal(estimate, start(observed, rngs, levels), rngs, levels)


def _inner(a: Tensor, b: Tensor) -> Tensor:
    return (a.conj() * b).real.sum((1, 2, 3), keepdim=True)

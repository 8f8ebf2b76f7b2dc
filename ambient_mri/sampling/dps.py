"""Diffusion posterior sampling (Chung et al. 2023) as published: a gradient step of constant size after each level.

    x ← ancestral(x, D) - ζ ∇_x ‖y - A D(x)‖² / ‖y - A D(x)‖

The step knows neither σ nor σ_y, so the residual stays far above the noise; here as the rival that papers compare with.
One network evaluation and one backward pass a level.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Generator, Tensor

from ambient_mri.sampling.annealing import ancestral, start
from ambient_mri.sampling.noise import noise_like
from ambient_mri.sampling.observation import Observation
from ambient_mri.sampling.proper import require_proper

CORRECTIONS = 0


def dps(
    prior: object, observed: Observation, rngs: Sequence[Generator], levels: Sequence[float], *, strength: float = 1.0
) -> Tensor:
    """Posterior samples `(b, 1, y, x)`; see `mmps` for the other arguments.

    Parameters
    ----------
    strength
        ζ. The paper uses .3 to 1.
    """
    network = require_proper(prior, "dps")

    def denoised_and_pull(x: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            x_t = x.detach().requires_grad_()
            denoised = network.expect(x_t, torch.full((len(x),), sigma, device=x.device))
            size = observed.residual(denoised).abs().square().sum((1, 2, 3)).clamp_min(1e-20).sqrt()
            (gradient,) = torch.autograd.grad(size.sum(), x_t)  # ∇‖r‖² / ‖r‖ = 2 ∇‖r‖
        return denoised.detach(), 2 * gradient

    with torch.no_grad():
        x = start(observed, rngs, levels)
        for sigma, following in pairwise(levels):
            denoised, gradient = denoised_and_pull(x, sigma)
            x = ancestral(x, denoised, sigma, following, noise_like(x, rngs)) - strength * gradient
        return network.expect(x, torch.full((len(x),), levels[-1], device=x.device))

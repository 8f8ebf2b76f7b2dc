"""Decomposed diffusion sampling (Chung, Lee, Ye 2024): data consistency by conjugate gradients at every level.

    x̂ = argmin ‖y - A x‖² / σ_y² + ‖x - D‖² / v_σ ,      v_σ = σ² σ_d² / (σ² + σ_d²)

v_σ is what is unknown about a pixel of a white image at level σ. That is crude at large σ, where pixels are correlated,
and exact at small: corrections at small levels repair it (without them the covariance of a smooth Gaussian image
comes out 2.7 times too large). One network evaluation a level, no backward pass.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from ambient_mri.sampling.annealing import anneal, start
from ambient_mri.sampling.observation import Observation
from ambient_mri.sampling.proper import require_proper
from ambient_mri.solvers import conjugate_gradients

SOLVES, TOLERANCE = 30, 1e-3
CORRECTIONS = 10


def dds(
    prior: object, observed: Observation, rngs: Sequence[Generator], levels: Sequence[float], *, strength: float = 1.0
) -> Tensor:
    """Posterior samples `(b, 1, y, x)`; see `mmps` for the other arguments.

    Parameters
    ----------
    strength
        Multiplies σ_y² / v_σ: more leans on the prior.
    """
    network = require_proper(prior, "dds")
    A = observed.A

    def estimate(x: Tensor, sigma: float) -> Tensor:
        denoised = network.expect(x, torch.full((len(x),), sigma, device=x.device))
        lam = strength * observed.noise_in_white(sigma)
        right = A.adjoint(observed.residual(denoised))
        return denoised + conjugate_gradients(A, right, lam, tolerance=TOLERANCE, max_iterations=SOLVES)

    with torch.no_grad():
        return anneal(estimate, start(observed, rngs, levels), rngs, levels)

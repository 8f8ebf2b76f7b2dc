"""Moment matching posterior sampling (Rozet et al. 2024): p(x | x_t) is taken as Gaussian with its true moments.

Tweedie gives both: E[x | x_t] = D and, per real component, Cov[x | x_t] = σ² ∂D/∂x_t = V, so that

    E[x | x_t, y] = D + V Aᴴ (A V Aᴴ + σ_y² I)⁻¹ (y - A D) .

V is only ever applied, by a backward pass. It should be symmetric and positive; a network's is neither, least of all at
large σ, and conjugate gradients then leave residuals hundreds of times those they started from. Minimal residuals
leave none larger: what a few iterations cannot solve is left to the prior, and to smaller σ. Each direction is that of
the residual after (v_σ A Aᴴ + σ_y² I)⁻¹, the answer for white images: it knows what A mixes, and leaves to iterations
what the network knows. Exact for Gaussian priors. One network evaluation a level, and at most `SOLVES` backward passes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Generator, Tensor

from ambient_mri.operators import Masked, SigpyEncoding
from ambient_mri.sampling.annealing import anneal, start
from ambient_mri.sampling.observation import Observation
from ambient_mri.sampling.proper import require_proper
from ambient_mri.solvers import Resolvent, minimal_residuals

SOLVES, TOLERANCE = 8, 1e-2
LEAST_LAMBDA = 0.01
"""λ = σ_y²/v_σ of the preconditioner is not taken below this: less takes longer to solve and gains nothing."""
CORRECTIONS = 1
HIGHEST = 1.0
"""Where sampling starts unless told otherwise, as large as the images: corrections below make good what larger noise
would have decided, and a network's derivative is worst there."""


def mmps(
    prior: object, observed: Observation, rngs: Sequence[Generator], levels: Sequence[float], *, strength: float = 1.0
) -> Tensor:
    """Posterior samples `(b, 1, y, x)`, one a row of `observed`; row i uses `rngs[i]` only.

    Parameters
    ----------
    prior
        `Proper`.
    levels
        From `annealing.schedule`; as many network evaluations. Begun at `HIGHEST`, half as many do.
    strength
        Multiplies σ_y² in the likelihood. 1 is exact; more leans on the prior.

    Raises
    ------
    InputError
        If the prior is not proper.
    """
    network = require_proper(prior, "mmps")
    noise = strength * observed.variance

    def estimate(x: Tensor, sigma: float) -> Tensor:
        with torch.enable_grad():
            x_t = x.detach().requires_grad_()
            denoised = network.expect(x_t, torch.full((len(x),), sigma, device=x.device))

        def covariance(image: Tensor) -> Tensor:
            (pulled,) = torch.autograd.grad(denoised, x_t, image, retain_graph=True)
            return sigma**2 * pulled

        def product(v: Tensor) -> tuple[Tensor, Tensor]:
            image = covariance(observed.A.adjoint(v))
            return image, observed.A.forward(image) + noise * v

        found = denoised.detach()
        return found + minimal_residuals(
            product, observed.residual(found), tolerance=TOLERANCE, max_iterations=SOLVES,
            precondition=_white(observed.A, strength * observed.noise_in_white(sigma)),
        )  # fmt: skip

    with torch.no_grad():
        return anneal(estimate, start(observed, rngs, levels), rngs, levels)


def _white(A: Masked, lam: Tensor) -> Callable[[Tensor], Tensor]:
    """r → r - A (AᴴA + λI)⁻¹ Aᴴ r = λ (A Aᴴ + λI)⁻¹ r; nothing for operators of sigpy, each use of which is dear."""
    if isinstance(A.encoding, SigpyEncoding):
        return lambda residual: residual
    inverse = Resolvent(A, lam.clamp_min(LEAST_LAMBDA))
    return lambda residual: residual - A.forward(inverse(A.adjoint(residual)))

"""One network evaluation and a data-consistency solve (A-OS; Daras et al. 2023). The default for batch work."""

from __future__ import annotations

import torch
from torch import Tensor

from ambient_mri.measurement import Measurement
from ambient_mri.operators import Masked
from ambient_mri.prior.preconditioning import LOWEST_SIGMA, Prior
from ambient_mri.sampling.observation import Observation
from ambient_mri.solvers import conjugate_gradients


def one_step(prior: Prior, measured: Measurement | Observation, *, consistency: float | None = None) -> Tensor:
    """x̂ = argmin ‖Ax - y‖² + λ‖x - h(Aᴴy, A, σ_y)‖², `(b, 1, y, x)` complex64, normalised units.

    Parameters
    ----------
    measured
        A `Measurement`, or an `Observation` with an operator of one's own, such as a NUFFT or that of a volume.
    consistency
        λ: squared noise over squared error of the network's image. None: the network's image as it is, which for
        a Gaussian prior is the posterior mean already.
    """
    A = measured.operator() if isinstance(measured, Measurement) else measured.A
    x_in = A.adjoint(measured.y)
    estimate = prior.denoise(x_in, measured.noise_std.clamp_min(LOWEST_SIGMA).expand(len(x_in)), A)
    return estimate if consistency is None else consistent(A, x_in, estimate, consistency)


def consistent(A: Masked, x_in: Tensor, estimate: Tensor, lam: float) -> Tensor:
    """argmin ‖Ax - y‖² + λ‖x - `estimate`‖² from x_in = Aᴴy: the solve of `one_step`, which alone depends on λ."""
    weight = torch.full((len(x_in), 1, 1, 1), lam, device=x_in.device)
    return estimate + conjugate_gradients(A, x_in - A.normal(estimate), weight, max_iterations=100)

"""One network evaluation and a data-consistency solve (A-OS; Daras et al. 2023). The default for batch work."""

from __future__ import annotations

import torch
from torch import Tensor

from ambient_mri.measurement import Measurement
from ambient_mri.prior.preconditioning import LOWEST_SIGMA, Prior
from ambient_mri.solvers import conjugate_gradients


def one_step(prior: Prior, measurement: Measurement, *, consistency: float | None = None) -> Tensor:
    """x̂ = argmin ‖Ax - y‖² + λ‖x - h(Aᴴy, A, σ_y)‖², `(b, 1, y, x)` complex64, normalised units.

    Parameters
    ----------
    consistency
        λ: squared noise over squared error of the network's image. None: the network's image as it is, which for
        a Gaussian prior is the posterior mean already.
    """
    A, x_in = measurement.operator(), measurement.adjoint()
    estimate = prior.denoise(x_in, measurement.noise_std.clamp_min(LOWEST_SIGMA), A)
    if consistency is None:
        return estimate
    lam = torch.full((len(measurement), 1, 1, 1), consistency, device=x_in.device)
    return estimate + conjugate_gradients(A, x_in - A.normal(estimate), lam, max_iterations=100)

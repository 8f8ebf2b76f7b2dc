"""Plug-and-play: the one-step image, then denoising and data consistency in turns (Zhang et al. 2021, DPIR).

One step knows the aliasing of masks like those of the training. Here the network is asked about whole images, and the
aliasing is left to the data: better where the mask is of another kind than any of the training (points for lines, both
phase encodes of a volume, spokes), worse where it is not. An ambient network was not trained on whole images; it does
well all the same.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ambient_mri.operators import Encoding, Masked
from ambient_mri.prior.preconditioning import LOWEST_SIGMA, Prior
from ambient_mri.sampling.observation import Observation
from ambient_mri.sampling.one_step import one_step
from ambient_mri.solvers import conjugate_gradients

HIGHEST, STEPS = 0.07, 8
"""The first σ, and how many there are down to 2σ_y. Points at R = 4 and 8: .1 and .15 are .1 to .3 dB behind."""
STRENGTH = 0.5
"""Points at R = 4 and 8; less where the network is worth less: .1 to .3 for volumes."""
LAST_LAMBDA = 1.0
"""Squared noise over squared error of the last image."""
TOLERANCE, MAX_ITERATIONS = 1e-2, 15


def plug_and_play(
    prior: Prior, observed: Observation, whole: Encoding, *, strength: float = STRENGTH, highest: float = HIGHEST
) -> Tensor:
    """x ← argmin ‖Ax − y‖² + c (σ_y/σ)² ‖x − h(x, σ)‖² for falling σ, `(b, 1, y, x)`; the last solve with λ = 1.

    Nine network evaluations.

    Parameters
    ----------
    whole
        E through which whole images are shown: that of the scan; for an operator of one's own `Sense` of its maps.
    strength
        c: more leans on the network.
    highest
        The first σ: about the error of the one-step image.
    """
    A = observed.A
    x = one_step(prior, observed)
    everything = Masked(whole, torch.ones(1, 1, 1, observed.shape[1], dtype=torch.bool, device=x.device))
    last = (2 * observed.noise_std).clamp(LOWEST_SIGMA, highest)

    def denoised(image: Tensor, sigma: Tensor) -> Tensor:
        return prior.denoise(image, sigma.expand(len(image)), everything)

    def consistent(image: Tensor, lam: Tensor, tolerance: float, most: int) -> Tensor:
        right = A.adjoint(observed.residual(image))
        return image + conjugate_gradients(A, right, lam, tolerance=tolerance, max_iterations=most)

    for turn in range(STEPS - 1):
        sigma = highest * (last / highest) ** (turn / (STEPS - 2))  # of each image
        lam = strength * observed.variance / sigma.square()[:, None, None, None]
        x = consistent(denoised(x, sigma), lam, TOLERANCE, MAX_ITERATIONS)
    return consistent(denoised(x, last), torch.full_like(lam, LAST_LAMBDA), 1e-5, 100)

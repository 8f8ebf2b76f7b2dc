"""The ambient objective: predict the whole image from Ãᴴỹ_σ, be judged on what A measured.

Nothing here has an argument through which a clean image could enter (Daras et al. 2023; noisy targets after
Daras, Dimakis and Daskalakis 2024).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ambient_mri.corruption import Further
from ambient_mri.measurement import DATA_STD
from ambient_mri.operators import Masked, keep
from ambient_mri.prior.preconditioning import LOWEST_SIGMA, Prior, output_scale


def corrupt_further(y: Tensor, shown: Masked, sigma: Tensor, noise_std: Tensor, noise: Tensor) -> Tensor:
    """ỹ_σ = D y + √(σ² - σ_y²) D n: white noise on every coil of what Ã shows, up to σ in all.

    Parameters
    ----------
    y, noise
        `(b, c, y, x)`; `noise` is white with unit standard deviation per real component.
    sigma, noise_std
        `(b,)`, σ ≥ σ_y.
    """
    added = (sigma.square() - noise_std.square()).clamp_min(0).sqrt()[:, None, None, None]
    return keep(shown.mask, y + added * noise)


def ambient_loss(
    prior: Prior, y: Tensor, A: Masked, further: Further, sigma: Tensor, noise_std: Tensor, noise: Tensor
) -> Tensor:
    """Weighted squared error of A h(Ãᴴỹ_σ, Ã, σ) against y, `(b,)`, per pixel.

    Where D hid a sample: weight 1/(q σ_d²); its noise is independent of the input, so the plain residual is unbiased.
    Where D showed it: the network saw the sample's own noise. With α = (σ² - σ_y²)/σ² the expected sample given
    the input is α E x + (1-α) ỹ_σ, so that is compared with y and divided by α (Ambient Tweedie). The weight
    1/(c_out² + σ_y²/α) is EDM's 1/c_out², less where the noise of the target is larger; it vanishes at σ = σ_y,
    where one scan says nothing about its own noise.

    Parameters
    ----------
    y
        `(b, c, y, x)` complex64 measured samples; unmeasured values are never read.
    A, further
        The scan's operator and a draw of D.
    sigma
        `(b,)` ≥ `noise_std`.
    noise_std
        `(b,)` σ_y.
    noise
        White, unit standard deviation per real component, of the shape of y.
    """
    y = keep(A.mask, y)
    shown = further.operator
    seen = corrupt_further(y, shown, sigma, noise_std, noise)
    estimate = A.forward(prior.denoise(shown.adjoint(seen), sigma, shown))

    variance, noise_variance = (s.square()[:, None, None, None] for s in (sigma, noise_std))
    alpha = (1 - noise_variance / variance.clamp_min(1e-12)).clamp_min(0)
    tweedie = alpha * estimate + (1 - alpha) * seen - y  # α × (prediction - what it should be on average)
    # |tweedie|²/α² · 1/(c_out² + σ_y²/α) = |tweedie|² / (α (α c_out² + σ_y²)), with 0/0 → 0 at α = 0
    scale = alpha * (alpha * output_scale(sigma)[:, None, None, None].square() + noise_variance)
    kept_weight = torch.where(alpha > 1e-3, 1 / scale.clamp_min(1e-12), 0.0)
    hidden_error = (estimate - y).abs().square() / DATA_STD**2
    error = further.weight * torch.where(shown.mask, kept_weight * tweedie.abs().square(), hidden_error)
    return keep(A.mask, error).sum((1, 2, 3)) / (y.shape[-2] * y.shape[-1])


def withheld_error(prior: Prior, y: Tensor, A: Masked, further: Further, noise_std: Tensor) -> tuple[Tensor, Tensor]:
    """Ground-truth-free validation: squared error per pixel on what D hid, and the energy there, each `(b,)`.

    The prior sees D y at σ = σ_y (no noise is added) and is compared with the hidden samples; weights 1/q and the
    subtracted noise make the error an unbiased estimate of the clean one on all that Ã did not show.
    """
    y = keep(A.mask, y)
    shown = further.operator
    sigma = noise_std.clamp_min(LOWEST_SIGMA)
    estimate = A.forward(prior.denoise(shown.adjoint(keep(shown.mask, y)), sigma, shown))
    hidden = keep(A.mask & ~shown.mask, further.weight.expand(-1, -1, *A.mask.shape[-2:]))
    noise = 2 * noise_std.square()[:, None, None, None]
    pixels = y.shape[-2] * y.shape[-1]
    error = (hidden * ((estimate - y).abs().square() - noise)).sum((1, 2, 3)) / pixels
    energy = (hidden * (y.abs().square() - noise)).sum((1, 2, 3)) / pixels
    return error, energy

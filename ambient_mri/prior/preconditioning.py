"""h_θ: a network in the operator-valued EDM preconditioning.

A network guesses the image, F, and how far it may be off: by variances σ_d² v of the real and the imaginary part of
every pixel. Were x Gaussian with these moments, its posterior mean given Ãᴴỹ_σ = x_in would be

    (N + Λ)⁻¹ (x_in + Λ F),      N = ÃᴴÃ,  Λ = diag(λ/v),  λ = σ²/σ_d²,

and that is the image, but for a correction G that takes off noise and is of its scale:

    D_θ = (N + Λ)⁻¹ (x_in + Λ F) + c_out/(1 + λ) G.

With F = G and v = 1 this is EDM (Karras et al. 2022) where N is the identity, and treats what was not observed as
σ = ∞. F, v and G come in stages: each sees the D_θ of the stage before, what the measurement added to the F of that
stage, the mask, and the answer for F = 0 and v = 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from ambient_mri.measurement import DATA_STD
from ambient_mri.operators import Masked, SigpyEncoding
from ambient_mri.prior.network import Cascade
from ambient_mri.solvers import Resolvent, by_parts, weighted_resolvent

LOWEST_SIGMA = 0.005
"""Lowest noise level of training, and what the network is told of scans with less noise than that."""
LAMBDA_FLOOR = 0.01
"""λ is not taken below this, a noise of .05: fine detail has far less than σ_d, a smaller λ only amplifies noise there
(.001 costs 1 to 3 dB after 250 steps at σ_y = .014; .05 costs half a dB)."""


class Prior(Protocol):
    """h_θ: E[x | Ãᴴỹ_σ, Ã] for a batch; the only thing that samplers know of a model."""

    def denoise(self, x_in: Tensor, sigma: Tensor, given: Masked) -> Tensor:
        """Denoised image `(b, 1, y, x)` complex64.

        Parameters
        ----------
        x_in
            Ãᴴỹ_σ, `(b, 1, y, x)` complex64.
        sigma
            `(b,)` noise standard deviation per real component in measurement space.
        given
            Ã.
        """


def output_scale(sigma: Tensor) -> Tensor:
    """c_out = σ σ_d / √(σ² + σ_d²) (Karras et al. 2022, table 1)."""
    return sigma * DATA_STD / (sigma.square() + DATA_STD**2).sqrt()


def time_step(sigma: Tensor) -> Tensor:
    """c_noise = ln(σ)/4 in the units of MONAI's sinusoidal embedding, which expects steps of order 0 … 1000."""
    return 500 + 250 * (sigma.clamp_min(1e-4).log() / 4)


def mask_channel(given: Masked, image: Tensor) -> Tensor:
    """What Ã measured as a picture `(b, 1, y, x)` in ±½; a constant where measurements have no place on the grid."""
    mask = given.mask.to(image.real.dtype)
    if mask.shape[-1] != image.shape[-1] or mask.shape[-2] not in (1, image.shape[-2]):
        worth = given.encoding.coverage if isinstance(given.encoding, SigpyEncoding) else 1.0
        mask = worth * mask.flatten(1).mean(1)[:, None, None, None]
    return mask.expand(len(image), 1, *image.shape[-2:]) - 0.5


@dataclass(frozen=True)
class AmbientPrior:
    """A trained (or training) network as a `Prior`.

    Parameters
    ----------
    network
        The cascade, or a data-parallel wrapper of it.
    precision
        Autocast type of the network's layers; everything around it stays float32.
    """

    network: Cascade | DistributedDataParallel
    precision: torch.dtype = torch.float32

    def denoise(self, x_in: Tensor, sigma: Tensor, given: Masked) -> Tensor:
        steps, mask = time_step(sigma), mask_channel(given, x_in)
        sigma = sigma[:, None, None, None]
        lam = (sigma / DATA_STD).square().clamp_min(LAMBDA_FLOOR)
        start = Resolvent(given, lam)(x_in) / DATA_STD

        def complete(predicted: Tensor, variance: Tensor, begin: Tensor) -> Tensor:
            penalty = lam / variance
            return weighted_resolvent(given, x_in / DATA_STD + by_parts(penalty, predicted), penalty, begin)

        noise_scale = output_scale(sigma) / DATA_STD / (1 + lam)
        image: Tensor = self.network(start, mask, steps, complete, noise_scale, self.precision)
        return DATA_STD * image

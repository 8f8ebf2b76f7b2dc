"""h_θ: a network in the operator-valued EDM preconditioning.

A network guesses the image, F, and what is known of its error: that it is about Gaussian, of variance σ_d² v at the
real and the imaginary part of every pixel, and how much alike it is at neighbours. These give its precision P in units
of the noise (`completion.Precision`), and the posterior mean given Ãᴴỹ_σ = x_in is

    (N + P)⁻¹ (x_in + P F),      N = ÃᴴÃ;      P = λ/v where no likeness is known, λ = σ²/σ_d²,

and that is the image, but for a correction G that takes off noise and is of its scale:

    D_θ = (N + P)⁻¹ (x_in + P F) + c_out/(1 + λ) G.

With F = G and P = λ this is EDM (Karras et al. 2022) where N is the identity, and treats what was not observed as
σ = ∞. F, P and G come in stages: each sees the D_θ of the stage before, what the measurement added to the F of that
stage, the mask, and the answer for F = 0 and P = λ.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from ambient_mri.measurement import DATA_STD
from ambient_mri.operators import Masked, SigpyEncoding
from ambient_mri.prior.completion import Precision, completed
from ambient_mri.prior.network import Cascade
from ambient_mri.solvers import Resolvent

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
        kinds, seen = given.by_kind(), x_in / DATA_STD

        def complete(predicted: Tensor, variance: Tensor, likeness: Tensor, begin: Tensor) -> Tensor:
            return _joined(kinds, [
                completed(A, seen[i], predicted[i], Precision.of(A, lam[i], variance[i], likeness[i]), begin[i])
                for i, A in kinds
            ])  # fmt: skip

        start = _joined(kinds, [Resolvent(A, lam[i])(seen[i]) for i, A in kinds])

        noise_scale = output_scale(sigma) / DATA_STD / (1 + lam)
        image: Tensor = self.network(start, mask, steps, complete, noise_scale, self.precision)
        return DATA_STD * image


def _joined(kinds: list[tuple[slice | Tensor, Masked]], images: list[Tensor]) -> Tensor:
    """Images of `Masked.by_kind` in the order of the batch."""
    if len(images) == 1:
        return images[0]
    return torch.cat(images)[torch.cat([places for places, _ in kinds]).argsort()]  # type: ignore[misc]

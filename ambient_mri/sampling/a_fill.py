"""Posterior samples of an ambient prior: what was measured is data, what an Ã shows beyond it is sampled.

Ã shows all that the scan measured, and in addition what another scan of the training might have shown. The network is
asked as in training: measured samples enter as ỹ_σ = y + √(σ² - σ_y²) n, no gradient has to pull them anywhere. The
others start from the one-step image with a little noise (the measurement already decides what is coarse) and go down
the noise levels; what Ã hides is filled in. At the last level the image is E[x | y, the sampled part].

Where training moved scans about, evaluations look at the scan in several positions, one after the other: what the
network gets wrong in one the next does not confirm (Terris et al. 2024, for plug-and-play iterations).
Every evaluation is one that the network was trained for, which is why the mean of a few samples is better than one
step; a fixed Ã that leaves out what was measured, or a gradient through the network, loses more than sampling gains.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import cycle

import torch
from torch import Generator, Tensor

from ambient_mri.errors import InputError
from ambient_mri.operators import Masked, SigpyEncoding, keep
from ambient_mri.patterns import Pattern
from ambient_mri.prior.preconditioning import LOWEST_SIGMA
from ambient_mri.prior.symmetry import STILL
from ambient_mri.sampling.annealing import anneal
from ambient_mri.sampling.noise import noise_like
from ambient_mri.sampling.observation import Observation
from ambient_mri.sampling.one_step import consistent
from ambient_mri.sampling.prior_samples import Lifted, met
from ambient_mri.sampling.proper import require_ambient

CORRECTIONS = 0
HIGHEST = 0.07
"""Where sampling starts, about the error of the one-step image at R = 4 (normalised units)."""


def completed(pattern: Pattern) -> Callable[[Observation, Sequence[Generator]], Masked]:
    """The law of Ã = A ∪ A', A' another draw of the law that the network learned from; A where that shows all."""
    law = met(pattern)

    def given(observed: Observation, rngs: Sequence[Generator]) -> Masked:
        other = torch.stack([law.draw(observed.shape, rng)[None] for rng in rngs]).to(observed.y.device)
        return Masked(observed.A.encoding, observed.A.mask | other)

    return given


def a_fill(
    prior: object, observed: Observation, rngs: Sequence[Generator], levels: Sequence[float], *, strength: float = 1.0
) -> Tensor:
    """Posterior samples `(b, 1, y, x)`, one a row of `observed`; row i uses `rngs[i]` only.

    Parameters
    ----------
    prior
        `Ambient`, whose Ã shows at least what A does.
    levels
        From `annealing.schedule`; as many network evaluations, and one more for the first image.
    strength
        λ of the solve argmin ‖A x - y‖² + λ ‖x - h‖² at the end, as for one-step. It brings the mean of samples closer
        to the image, and noise of the measurement into each of them; infinity: the network's image as it is.

    Raises
    ------
    InputError
        If the prior is not an ambient one, or Ã hides what was measured.
    """
    ambient = require_ambient(prior, observed, "a-fill")
    A, given = observed.A, ambient.given(observed, rngs)
    if given.encoding is not A.encoding or bool((A.mask & ~given.mask).any()):
        raise InputError("Ã has to show all that was measured, in the same encoding", where="a-fill",
                         remedy="Use `completed` for the law of Ã, or a-dps")  # fmt: skip
    y = keep(A.mask, observed.y)
    turns = cycle((STILL,) if isinstance(A.encoding, SigpyEncoding) else ambient.positions)
    noise_std = observed.noise_std.clamp_min(LOWEST_SIGMA)

    with torch.no_grad():
        lifted = Lifted(given, rngs, observed.shape)
        noise = noise_like(y, rngs)

        def estimate(x: Tensor, sigma: float) -> Tensor:
            level = noise_std.clamp_min(sigma)
            added = (level.square() - observed.noise_std.square()).clamp_min(0).sqrt()[:, None, None, None]
            shown = torch.where(A.mask, y + added * noise, A.encoding.forward(x) + sigma * lifted.beyond)
            return next(turns).asked(ambient.prior, given.adjoint(shown), level, given)

        first = next(turns).asked(ambient.prior, A.adjoint(y), noise_std, A)
        image = anneal(estimate, first + levels[0] * noise_like(first, rngs), rngs, levels)
        if math.isinf(strength):
            return image
        return consistent(A, A.adjoint(y), image, strength)

"""Reconstruction guidance for samples of an ambient prior (Daras et al. 2023): several masks have to agree.

What the fixed Ã_0 of a sample hides is filled in with its conditional mean. Other masks Ã_k show it; the gradient of
Σ_k ‖h(Ã_0) - h(Ã_k)‖² makes what one mask fills in agree with what the others see.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Generator, Tensor

from ambient_mri.errors import InputError
from ambient_mri.operators import Masked
from ambient_mri.prior.preconditioning import Prior
from ambient_mri.sampling.noise import draws
from ambient_mri.sampling.prior_samples import Lifted, noise_levels


def guided(
    prior: Prior, masks: Sequence[Masked], rngs: Sequence[Generator], shape: tuple[int, int], *, steps: int = 36,
    low: float, weight: float = 1.0,
) -> Tensor:  # fmt: skip
    """Images `(b, 1, y, x)` of the prior; sample i uses `rngs[i]` only.

    Euler steps on dx/dσ = (x - h(Ã_0))/σ, and with each the share (1 - σ'/σ) `weight`/K of the guidance,
    K = len(masks) - 1: over a decade of σ it acts as much as the ODE does, however many steps there are.

    Parameters
    ----------
    masks
        Ã_0 and at least one Ã_k, each for the whole batch.
    steps
        Noise levels; steps · (K + 1) - K network evaluations, steps - 1 backward passes through each mask.
    low
        Lowest level, where Ã_0 alone denoises.
    weight
        0: no guidance. Stable up to about 2.

    Raises
    ------
    InputError
        If there is but one mask.
    """
    if len(masks) < 2:
        raise InputError("guidance compares masks, and there is one", where="masks", remedy="Give at least two")
    levels = noise_levels(steps, low)
    device = masks[0].mask.device
    x = levels[0] * draws((1, *shape), rngs).to(device)
    lifts = [Lifted(given, rngs, shape) for given in masks]

    def predictions(image: Tensor, sigma: float, which: slice) -> list[Tensor]:
        level = torch.full((len(rngs),), sigma, device=device)
        return [prior.denoise(lift(image, sigma), level, lift.given) for lift in lifts[which]]

    with torch.no_grad():
        for sigma, following in pairwise(levels):
            with torch.enable_grad():
                x_t = x.detach().requires_grad_()
                first, *others = predictions(x_t, sigma, slice(None))
                apart = sum(((first - other).abs().square().sum() for other in others), torch.zeros((), device=device))
                (gradient,) = torch.autograd.grad(apart / 2, x_t)
            share = 1 - following / sigma
            x = x - share * (x - first.detach()) - share * weight / len(others) * gradient
        return predictions(x, levels[-1], slice(1))[0]

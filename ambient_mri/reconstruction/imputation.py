"""The E-step's sampler: posterior samples of a batch of scans under a model, as `prior.refinement` asks for them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ambient_mri.measurement import Measurement
from ambient_mri.prior.bundle import Bundle
from ambient_mri.prior.refinement import AMBIENT_SAMPLER, Posterior
from ambient_mri.reconstruction import posterior as sampler

PIXELS_ON_GPU = 2**21
"""Of images that a GPU draws together, 512 of 64 × 64: fewer cost as much, its work being started a kernel at a time.
With the derivatives that `mmps` keeps they take about 12 GiB."""


def posterior(samples: int, nfe: int | None) -> Posterior:
    """Draws `samples` images a scan; `nfe` evaluations each by the samplers of proper priors, None: their own number.

    The ambient sampler has its own number anyway: more do not make it better. Its images are taken as they are: the
    solve that brings their mean closer to the scan brings noise of the scan into each, and the M-step would learn it.
    """

    def draw(model: Bundle, name: str, scans: Measurement, seed: int) -> Tensor:
        ambient = name == AMBIENT_SAMPLER
        chosen = sampler.Sampling(samples, None if ambient else nfe, seed=seed)
        drawer = sampler.Posterior(name, model, chosen)
        if scans.y.device.type != "cpu":
            drawer.at_once = max(1, PIXELS_ON_GPU // scans.y[0, 0].numel())
        with torch.no_grad():
            return drawer.draw(scans, math.inf if ambient else None).samples

    return draw

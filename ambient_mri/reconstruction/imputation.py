"""The E-step's sampler: posterior samples of a batch of scans under a model, as `prior.refinement` asks for them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ambient_mri.measurement import Measurement
from ambient_mri.prior.bundle import Bundle
from ambient_mri.prior.refinement import AMBIENT_SAMPLER, Posterior
from ambient_mri.reconstruction import posterior as sampler


def posterior(samples: int, nfe: int | None) -> Posterior:
    """Draws `samples` images a scan; `nfe` evaluations each by the samplers of proper priors, None: their own number.

    The ambient sampler has its own number anyway: more do not make it better. Its images are taken as they are: the
    solve that brings their mean closer to the scan brings noise of the scan into each, and the M-step would learn it.
    """

    def draw(model: Bundle, name: str, scans: Measurement, seed: int) -> Tensor:
        ambient = name == AMBIENT_SAMPLER
        chosen = sampler.Sampling(samples, None if ambient else nfe, seed=seed)
        with torch.no_grad():
            return sampler.Posterior(name, model, chosen).draw(scans, math.inf if ambient else None).samples

    return draw

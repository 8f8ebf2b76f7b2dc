"""What a training shows while it runs: zero-filled images, one-step images, and samples of the prior."""

from __future__ import annotations

import torch
from torch import Tensor

from ambient_mri.corruption import FurtherLaw
from ambient_mri.measurement import Measurement
from ambient_mri.prior.preconditioning import LOWEST_SIGMA, Prior
from ambient_mri.randomness import stream
from ambient_mri.sampling.one_step import one_step
from ambient_mri.sampling.prior_samples import heun

CONSISTENCY, SAMPLING_STEPS = 0.02, 10


def preview(prior: Prior, batch: Measurement, law: FurtherLaw) -> Tensor:
    """Rows `(3, b, 1, y, x)`: zero-filled, one step, prior samples through the masks of the same scans."""
    rngs = [stream(0, "preview", i) for i in range(len(batch))]
    given = law.draw(batch.operator(), rngs, batch.component).operator
    low = max(float(batch.noise_std.mean()), LOWEST_SIGMA)
    samples = heun(prior, given, rngs, batch.image_shape, steps=SAMPLING_STEPS, low=low)
    return torch.stack([batch.adjoint(), one_step(prior, batch, consistency=CONSISTENCY), samples])

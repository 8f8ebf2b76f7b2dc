"""M-step: denoising training on the images of an E-step, whole ones, under the law of noise of Karras et al. 2022.

The images enter as fully sampled, noiseless measurements, so that loss, preconditioning and state are those of every
other training: with σ_y = 0 and nothing hidden, `ambient_loss` is EDM's ‖D(x + σn, σ) - x‖² / c_out².
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Generator

from ambient_mri.corruption import Further
from ambient_mri.errors import InputError
from ambient_mri.measurement import Measurement, collate
from ambient_mri.prior import training
from ambient_mri.prior.checkpoint import resume, save_checkpoint
from ambient_mri.prior.feed import there
from ambient_mri.prior.imputed import Imputed
from ambient_mri.prior.learner import Learner, Length
from ambient_mri.prior.preconditioning import LOWEST_SIGMA
from ambient_mri.prior.steps import HIGHEST_SIGMA, Batches, Draw
from ambient_mri.randomness import white

logger = logging.getLogger("ambient_mri.refinement")

LOG_MEAN, LOG_STD = -1.2, 1.2
"""ln σ of training (Karras et al. 2022, table 1, at the same σ_d = .5)."""


def maximise(folder: Path, learner: Learner, images: Imputed, length: Length, batch_size: int, seed: int) -> None:
    """Train `learner` to the end, from its checkpoint in `folder` where there is one.

    Images are taken as they are, neither mirrored nor shifted as scans are in training: a prior of whole images should
    know where heads lie, and heads that were mirrored lie elsewhere.

    Raises
    ------
    InputError
        If the loss is not finite; the last checkpoint is kept.
    """
    if resume(folder, learner):
        logger.info("M-step resumed at step %d", learner.step)
    started = time.monotonic() - learner.seconds
    for places in Batches(len(images), batch_size, seed, learner.step):
        done = length.progress(learner)
        if done >= 1:
            break
        batch = collate([images[place.scan] for place in places])
        batch, drawn = there(images.device, batch, draw(batch, [place.stream(seed) for place in places]))
        try:
            loss = learner.update(batch, drawn, done)
        except FloatingPointError as problem:
            raise InputError(str(problem), where=str(folder), remedy="The last checkpoint is kept") from problem
        learner.seconds = time.monotonic() - started
        if learner.step % training.CHECKPOINT_STEPS == 0:
            save_checkpoint(folder, learner)
            left = learner.seconds * (1 / max(length.progress(learner), 1e-9) - 1)
            logger.info("M-step  step %d  loss %.4f  about %.0f s left", learner.step, loss, max(left, 0))
    save_checkpoint(folder, learner)


def draw(measurement: Measurement, rngs: Sequence[Generator]) -> Draw:
    """σ and noise of a batch of whole images, nothing hidden; sample i uses `rngs[i]` only."""
    sigmas = [math.exp(LOG_MEAN + LOG_STD * float(torch.randn((), generator=rng))) for rng in rngs]
    noise = torch.stack([white(tuple(measurement.y.shape[1:]), rng) for rng in rngs])
    device = measurement.y.device
    return Draw(
        Further(measurement.operator(), measurement.mask.to(torch.float32)),
        torch.tensor(sigmas, device=device).clamp(LOWEST_SIGMA, HIGHEST_SIGMA), noise.to(device),
    )  # fmt: skip

"""Training on scans as other positions of the head would have given them: moved together with their masks and maps.

A corrupted scan may not be augmented as an image is: where a scan is moved, what was measured of it moves too. In
k-space both moves here are exact, sample by sample, so that the loss stays as unbiased as it was; noise stays white.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Generator, Tensor

from ambient_mri.corruption import Further
from ambient_mri.data.facts import SymmetryFacts
from ambient_mri.measurement import Measurement
from ambient_mri.operators import Masked
from ambient_mri.prior.steps import Draw


def move(
    measurement: Measurement, drawn: Draw, law: SymmetryFacts, rngs: Sequence[Generator]
) -> tuple[Measurement, Draw]:
    """The batch and its draw of D, each sample mirrored with probability ½ and shifted by whole pixels.

    D is drawn before: its probabilities are those of the scan as it was acquired.

    Parameters
    ----------
    law
        `mirror`: columns x → -x; `shift`: at most so many pixels along both axes.
    rngs
        Sample i uses `rngs[i]` only.
    """
    mirrored, shifts = [], []
    for rng in rngs:
        mirrored.append(law.mirror and bool(torch.rand((), generator=rng) < 0.5))
        shifts.append(torch.randint(-law.shift, law.shift + 1, (2,), generator=rng).tolist())

    def in_order(x: Tensor, of_image: bool, of_measurement: bool) -> Tensor:
        rows = []
        for one, flip, (down, right) in zip(x, mirrored, shifts, strict=True):
            one = mirror(one) if flip else one
            if of_image:
                one = one.roll((down, right), (-2, -1))
            rows.append(one * ramp(one.shape, down, right).to(one.device) if of_measurement else one)
        return torch.stack(rows)

    pixels = measurement.domain == "image"  # there the mask is part of the image
    maps = measurement.sensitivity_maps
    moved = replace(
        measurement,
        y=in_order(measurement.y, of_image=pixels, of_measurement=not pixels),
        mask=in_order(measurement.mask, of_image=pixels, of_measurement=False),
        sensitivity_maps=None if maps is None else in_order(maps, of_image=True, of_measurement=False),
    )
    shown = in_order(drawn.further.operator.mask, of_image=pixels, of_measurement=False)
    weight = in_order(drawn.further.weight, of_image=pixels, of_measurement=False)
    return moved, replace(drawn, further=Further(Masked(moved.encoding(), shown), weight))


def mirror(x: Tensor) -> Tensor:
    """Columns reversed about the centre n//2, as the mirrored image's samples are in k-space and in the image alike."""
    n = x.shape[-1]
    return x[..., (2 * (n // 2) - torch.arange(n, device=x.device)) % n]


def ramp(shape: Sequence[int], down: int, right: int) -> Tensor:
    """What a shift of the image multiplies its k-space by, `(y, x)` complex64."""
    phases = []
    for n, steps in zip(shape[-2:], (down, right), strict=True):
        phases.append(-2 * math.pi / n * steps * (torch.arange(n) - n // 2))
    return torch.polar(torch.ones(()), phases[0][:, None] + phases[1][None, :])

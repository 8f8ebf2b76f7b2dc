"""Training on scans as other positions of the head would have given them: moved together with their masks and maps.

A corrupted scan may not be augmented as an image is: where a scan is moved, what was measured of it moves too. In
k-space both moves here are exact, sample by sample, so that the loss stays as unbiased as it was; noise stays white.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
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

    def each(x: Tensor, shifted: Callable[[Tensor, int, int], Tensor]) -> Tensor:
        rows = zip(x, mirrored, shifts, strict=True)
        return torch.stack([shifted(mirror(one) if flip else one, down, right) for one, flip, (down, right) in rows])

    # Shifts roll images, multiply k-space by a ramp, and leave its masks alone; a mask of pixels is an image.
    samples, masks = (roll, roll) if measurement.domain == "image" else (modulate, stay)
    maps = measurement.sensitivity_maps
    moved = replace(
        measurement, y=each(measurement.y, samples), mask=each(measurement.mask, masks),
        sensitivity_maps=None if maps is None else each(maps, roll),
        acquired=None if measurement.acquired is None else each(measurement.acquired, stay),
    )  # fmt: skip
    shown, weight = each(drawn.further.operator.mask, masks), each(drawn.further.weight, masks)
    return moved, replace(drawn, further=Further(Masked(moved.encoding(), shown), weight))


def roll(image: Tensor, down: int, right: int) -> Tensor:
    """An image shifted; what leaves on one side enters on the other."""
    return image.roll((down, right), (-2, -1))


def modulate(samples: Tensor, down: int, right: int) -> Tensor:
    """The k-space of an image that was shifted."""
    return samples * ramp(samples.shape, down, right).to(samples.device)


def stay(mask: Tensor, down: int, right: int) -> Tensor:
    """Where k-space was measured does not depend on where the image lies."""
    return mask


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

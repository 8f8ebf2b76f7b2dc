"""Where a scan differs from what a model learned from: sentences for the user, none where all is alike."""

from __future__ import annotations

import torch
from torch import Tensor

from ambient_mri.data.acquired import MeasuredVolume, equispaced
from ambient_mri.prior.card import Card

RATE_TOLERANCE = 0.15
NOISE_FACTOR = 2.0
LEAST_NOISE = 0.005
"""Of an image of standard deviation .5: what is below makes no difference."""


def differences(measured: MeasuredVolume, card: Card) -> tuple[str, ...]:
    """What the readers of a reconstruction should know; the images are made all the same.

    Of a model that learned from a mixture, what the scan differs in from the kind that is most like it.
    """
    return min((_differences(measured, one) for one in card.components()), key=len)


def _differences(measured: MeasuredVolume, card: Card) -> tuple[str, ...]:
    found, law, mask = other_matrix(measured.matrix, card), card.acquisition.pattern, measured.mask
    if (mask.shape[0] == 1) != law.kind.endswith(("lines", "from_files", "fully_sampled")):
        kind = "lines" if mask.shape[0] == 1 else "points"
        found.append(f"{kind} were measured, the model was trained with {law.kind}")
    else:
        found += _rate(measured, card)
        comb = equispaced(mask)
        if mask.shape[0] == 1 and comb != (law.kind == "equispaced_lines") and law.kind != "from_files":
            spacing = "equally spaced" if comb else "not equally spaced"
            found.append(f"the measured lines are {spacing}, the model was trained with {law.kind}")
    if measured.coils != card.coils:
        found.append(f"{_coils(measured.coils)}, the model was trained on {_coils(card.coils)}")
    noise = measured.noise_std / measured.scale
    if not 1 / NOISE_FACTOR <= max(noise, LEAST_NOISE) / max(card.noise_std, LEAST_NOISE) <= NOISE_FACTOR:
        found.append(f"the noise is {noise:.3f} (image standard deviation .5), in training it was {card.noise_std:.3f}")
    return tuple(found)


def other_matrix(shape: tuple[int, int], card: Card) -> list[str]:
    """A sentence where images `(y, x)` of this shape are of another matrix than those of the training."""
    ours, theirs = (f"{rows} x {columns}" for rows, columns in (shape, card.image_shape))
    return [] if ours == theirs else [f"the matrix is {ours}, the model was trained on {theirs} images"]


def acceleration(mask: Tensor) -> float:
    """Samples of the grid over samples measured, calibration included."""
    return mask.numel() / max(int(mask.sum()), 1)


def _rate(measured: MeasuredVolume, card: Card) -> list[str]:
    if card.acquisition.pattern.kind == "fully_sampled":
        return []
    if card.line_frequency is not None:
        trained = len(card.line_frequency) / sum(card.line_frequency)
    else:  # of lines that only pad this scan, the law would have measured none either
        probability = card.pattern().probability(measured.matrix)
        trained = 1 / float(torch.where(measured.acquired, probability, 0.0).mean())
    rate = acceleration(measured.mask)
    if abs(rate / trained - 1) <= RATE_TOLERANCE:
        return []
    return [f"the scan has R = {rate:.2g}, the model was trained on scans of R = {trained:.2g}"]


def _coils(count: int) -> str:
    return "one coil" if count == 1 else f"{count} coils"

"""Images of an AmbientGAN's generator."""

from __future__ import annotations

from pathlib import Path

from ambient_mri.errors import InputError
from ambient_mri.prior.ambientgan import WIDTHS, ImageGenerator
from ambient_mri.prior.bundle import load_card, load_weights
from ambient_mri.prior.card import ADVERSARIAL


def load_generator(path: Path, device: str = "cpu") -> ImageGenerator:
    """The generator of a bundle that `train --method ambientgan` wrote.

    Raises
    ------
    InputError
        If it is another kind of bundle, or damaged.
    """
    card = load_card(path)
    if card.method != ADVERSARIAL:
        raise InputError(f"a model of the method {card.method} has no generator", where=str(path),
                         remedy="Load it by `load_bundle`")  # fmt: skip
    generator = ImageGenerator(WIDTHS[card.preset], card.image_shape)
    load_weights(path, generator)
    return generator.eval().requires_grad_(False).to(device)

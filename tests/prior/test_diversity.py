"""Diversity of sets whose diversity is known."""

from __future__ import annotations

import pytest
import torch
from torch import Generator

from ambient_mri.prior.diversity import Diversity, diversity


def _white(count: int, size: int = 16) -> torch.Tensor:
    return torch.randn(count, 1, size, size, generator=Generator().manual_seed(0))


def test_equal_images_have_none() -> None:
    found = diversity(torch.ones(5, 1, 4, 4), Generator())
    assert (found.variance, found.effective_number) == (0, 1)


def test_a_single_image_has_none() -> None:
    """`refine` of a single scan ended in a division by zero once its E-step was drawn."""
    assert diversity(_white(1), Generator()) == Diversity(0.0, 1.0)


def test_orthogonal_images_differ_in_all_directions_but_their_mean() -> None:
    images = torch.eye(6).reshape(6, 1, 2, 3)
    assert diversity(images, Generator()).effective_number == pytest.approx(5)


def test_white_images() -> None:
    found = diversity(_white(400), Generator())
    assert found.variance == pytest.approx(1, abs=0.02)
    images = _white(400)
    pairs = (images[:50, None] - images[None, 50:100]).square().mean()
    assert 2 * found.variance == pytest.approx(float(pairs), rel=0.04)


def test_collapse_lowers_every_figure() -> None:
    images = _white(64)
    whole = diversity(images, Generator())
    towards_the_mean = diversity(images.mean(0) + 0.7 * (images - images.mean(0)), Generator())
    few_modes = diversity(images[:8].repeat(8, 1, 1, 1), Generator())
    assert towards_the_mean.variance == pytest.approx(0.49 * whole.variance)
    assert few_modes.effective_number < 8 < whole.effective_number


def test_complex_images_count_both_components_and_large_sets_are_drawn_from() -> None:
    images = torch.complex(_white(600, 4), 2 * _white(600, 4).flip(0))
    assert diversity(images, Generator().manual_seed(1)).variance == pytest.approx(5, rel=0.1)
    again = diversity(images, Generator().manual_seed(1))
    assert again == diversity(images, Generator().manual_seed(1))

"""Distances with known answers, the floor of identical laws, and how known faults of generators show."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Generator

from ambient_mri.data.cohort import subject
from ambient_mri.evaluation.features import Axes, Features, Images, scattering
from ambient_mri.generation.compare import Real, Yardstick
from ambient_mri.generation.distances import (
    frechet,
    kernel,
    project,
    radial_spectrum,
    sliced_wasserstein,
    spectrum,
    support,
)  # fmt: skip
from tests.laws.reproducibility import check_global_state_untouched

RNG = np.random.default_rng(0)


def _gaussian(count: int, mean: float = 0.0, scale: float = 1.0, dimensions: int = 4) -> Features:
    values: Features = mean + scale * RNG.standard_normal((count, dimensions))
    return values


def _exact(count: int, mean: Features, root: Features) -> Features:
    """Points whose mean and covariance (by n - 1) are those given, exactly."""
    white = _gaussian(count, dimensions=len(mean))
    white -= white.mean(0)
    white = white @ np.linalg.inv(np.linalg.cholesky(np.cov(white, rowvar=False))).T
    points: Features = mean + white @ root.T
    return points


def test_frechet_of_gaussians_is_the_closed_form() -> None:
    """Commuting covariances: |m - m'|² + Σ (s_i - s'_i)²; and a rotated one through the general formula."""
    means = np.array([0.0, 0, 0]), np.array([1.0, 2, 0])
    stds = np.array([1.0, 2, 3]), np.array([3.0, 2, 1])
    found = frechet(_exact(50, means[0], np.diag(stds[0])), _exact(60, means[1], np.diag(stds[1])))
    assert found == pytest.approx(5 + 4 + 0 + 4)
    turn = np.array([[0.6, -0.8, 0], [0.8, 0.6, 0], [0, 0, 1]])
    roots = np.diag(stds[0]), turn @ np.diag(stds[1])
    covariances = [root @ root.T for root in roots]
    from scipy.linalg import sqrtm

    cross = np.trace(sqrtm(covariances[0] @ covariances[1])).real
    expected = 5 + np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * cross
    assert frechet(_exact(50, means[0], roots[0]), _exact(60, means[1], roots[1])) == pytest.approx(expected)


def test_kernel_is_unbiased() -> None:
    """Mean over many pairs of equal laws is 0 within its error; the biased estimate would be well above."""
    values = [kernel(_gaussian(20), _gaussian(20)) for _ in range(400)]
    assert abs(np.mean(values)) < 4 * np.std(values) / 20
    assert np.std(values) < 1
    assert kernel(_gaussian(200), _gaussian(200, mean=1)) > 5 * np.std(values)


def test_kernel_by_hand() -> None:
    a, b = np.array([[1.0], [2.0]]), np.array([[0.0], [1.0]])
    expected = (1 * 2 + 1) ** 3 + (0 + 1) ** 3 - 2 * np.mean([1, (1 + 1) ** 3, 1, (2 + 1) ** 3])
    assert kernel(a, b) == pytest.approx(expected)


def test_sliced_wasserstein_of_a_shift_and_of_a_scaling() -> None:
    """Along a direction u of unit length: a shift by v moves by v·u, doubling a white set by 1."""
    rng = Generator().manual_seed(0)
    images = RNG.standard_normal((800, 6, 6)).astype(np.float32)
    placed = project(images, rng)
    rng.manual_seed(0)
    moved = project(images + 0.5, rng)  # |v|² = 36/4 over 36 dimensions: .25 on average
    assert sliced_wasserstein(placed, moved) == pytest.approx(0.5, rel=0.1)
    assert sliced_wasserstein(placed, 2 * placed) == pytest.approx(1, rel=0.05)
    assert sliced_wasserstein(placed, placed[::-1]) == 0
    assert sliced_wasserstein(placed[:400], placed[:400].repeat(2, 0)) < 0.04
    from ambient_mri.generation.distances import _quantiles

    levels = (np.arange(90) + 0.5) / 90
    assert np.allclose(_quantiles(placed[:37], 90), np.quantile(placed[:37], levels, axis=0, method="hazen"))


def test_spectrum_knows_power_and_frequency() -> None:
    images = RNG.standard_normal((50, 17, 12)).astype(np.float32)
    assert spectrum(radial_spectrum(images), radial_spectrum(2 * images)) == pytest.approx(20 * np.log10(2))
    wave = np.cos(2 * np.pi * 3 / 16 * np.arange(16))[None, None].repeat(16, 1).astype(np.float32)
    assert int(radial_spectrum(wave)[0].argmax()) == 3


def _reals(count: int, first: int = 0) -> Images:
    return np.stack([subject(first + i, size=32).images[0].numpy() for i in range(count)])


@pytest.fixture(scope="module")
def yardstick() -> Yardstick:
    """64 synthetic brains of 64 subjects, axes from 64 others."""
    return Yardstick(Real(_reals(64), tuple(map(str, range(64)))), _reals(64, 64))


@pytest.fixture(scope="module")
def others() -> Images:
    return _reals(64, 200)


def test_identical_laws_are_at_the_floor_and_copies_below(yardstick: Yardstick, others: Images) -> None:
    floor = yardstick.figures(others)
    copies = yardstick.figures(_reals(64))
    for key in ("frechet", "kernel", "sliced_wasserstein", "spectrum_db"):
        assert copies[key].value < floor[key].value
    assert copies["precision"].value == copies["recall"].value == 1
    assert copies["frechet"].value == pytest.approx(0, abs=1e-6)
    assert floor["precision"].value > 0.6
    assert floor["recall"].value > 0.6
    assert abs(floor["kernel"].value) < 4 * floor["kernel"].error
    again = yardstick.figures(_reals(64, 300))
    assert again["frechet"].value == pytest.approx(floor["frechet"].value, rel=0.5)


def test_blur_raises_the_spectrum_distance_and_more_blur_raises_it_further(
    yardstick: Yardstick, others: Images
) -> None:
    def blurred(width: int) -> Images:
        values = torch.nn.functional.avg_pool2d(torch.as_tensor(others)[:, None], width, 1, width // 2)
        images: Images = values[:, 0, :32, :32].numpy()
        return images

    floor = yardstick.figures(others)
    found = [yardstick.figures(blurred(width)) for width in (3, 5)]
    figures = [floor["spectrum_db"].value, *(one["spectrum_db"].value for one in found)]
    assert figures[0] + 1 < figures[1] < figures[2]
    assert found[0]["frechet"].value > 2 * floor["frechet"].value
    assert found[0]["precision"].value < 0.5 * floor["precision"].value


def test_dropped_modes_lower_recall_and_not_precision(yardstick: Yardstick, others: Images) -> None:
    """One subject in eight, each eight times: everything is real, and little of what is real is there."""
    floor = yardstick.figures(others)
    few = yardstick.figures(others[:8].repeat(8, 0))
    assert few["recall"].value < 0.5 * floor["recall"].value
    assert few["precision"].value > floor["precision"].value - 0.15
    assert few["frechet"].value > 1.3 * floor["frechet"].value


def test_noise_lowers_precision(yardstick: Yardstick, others: Images) -> None:
    noisy = yardstick.figures(np.abs(others + 0.3 * RNG.standard_normal(others.shape).astype(np.float32)))
    assert noisy["precision"].value < 0.1
    assert noisy["spectrum_db"].value > 3


@pytest.mark.slow
def test_errors_are_those_of_another_draw_of_subjects(yardstick: Yardstick) -> None:
    """The standard error covers what other sets of real images give, within a factor of about two."""
    sets = [yardstick.figures(_reals(64, first)) for first in range(400, 400 + 8 * 64, 64)]
    for key in ("kernel", "sliced_wasserstein", "spectrum_db"):
        spread = np.std([one[key].value for one in sets])
        stated = np.mean([one[key].error for one in sets])
        assert 0.3 * spread < stated < 6 * spread, key


def test_precision_and_recall_by_hand() -> None:
    real, samples = np.array([[0.0], [1], [2], [10]]), np.array([[0.5], [1.5], [20], [21]])
    found = support(real, samples, neighbours=1)  # reach of real: 1, 1, 1, 8; of samples: 1, 1, 1, 1
    assert (found.precision, found.recall) == (0.5, 0.75)


def test_features_are_stable_and_do_not_touch_the_global_state() -> None:
    images = _reals(4)
    check_global_state_untouched(lambda: torch.as_tensor(scattering(images)))
    together, alone = scattering(images), np.concatenate([scattering(one[None]) for one in images])
    assert np.allclose(together, alone, atol=1e-4)
    assert scattering(_reals(2)[:, :31, :29]).shape == (2, 16 + 12 + 36)
    shifted = scattering(np.roll(images, 1, axis=1))
    other = scattering(_reals(4, 50))
    assert np.linalg.norm(shifted - together) < 0.5 * np.linalg.norm(other - together)


def test_axes_are_few_and_of_unit_length() -> None:
    axes = Axes.of(_gaussian(80, dimensions=20), 32)
    assert axes.axes.shape == (10, 20)
    assert np.allclose(axes.axes @ axes.axes.T, np.eye(10))

"""T3: whitening pays at every acceleration, denominators are exact, and noise explains exact copies only."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from ambient_mri.audit.similarity import Whitening, exact_copy_p_value, measured_similarity
from ambient_mri.data.simulation import Acquisition, simulate_scan
from ambient_mri.fourier import ifft2c
from ambient_mri.measurement import Measurement, collate
from ambient_mri.patterns import FullySampled, RandomLines

SIZE = 48


def _phantoms(count: int, seed: int) -> Tensor:
    """A common head, and for each subject a texture whose amplitude falls with |k|: most energy tells nobody apart."""
    rng = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(*2 * (torch.linspace(-1, 1, SIZE),), indexing="ij")
    head = (x.square() + y.square() < 0.7).float()
    k = torch.hypot(x * SIZE / 2, y * SIZE / 2).clamp_min(1)
    noise = torch.complex(*(torch.randn(2, count, 1, SIZE, SIZE, generator=rng)))
    texture = ifft2c(noise / k**1.5).real
    texture = texture / texture.std((1, 2, 3), keepdim=True)
    return (head * (2 + 0.8 * texture)).clamp_min(0)


def _scans(images: Tensor, acceleration: float, coils: int, name: str) -> tuple[Measurement, Tensor]:
    law = RandomLines(4, 0.08) if acceleration == 1 else RandomLines(acceleration, 0.08)
    pattern = FullySampled(law) if acceleration == 1 else law
    acquisition = Acquisition(pattern, coils=coils, noise_std=0.05, phase="none")
    made = [simulate_scan(image[0], acquisition, f"{name}-{i}") for i, image in enumerate(images)]
    return collate([scan.measurement for scan in made]), torch.cat([scan.truth for scan in made])


def true_positive_rate(acceleration: float, share: float, whitened: bool) -> float:
    """Of partial copies, at a false positive rate of 1 % among hold-out scans."""
    scans, truth = _scans(_phantoms(60, 1), acceleration, 1, "train")
    hold, _ = _scans(_phantoms(60, 2), acceleration, 1, "hold")
    other, beside = _scans(_phantoms(60, 3), 1, 1, "other")
    del other
    samples = share * truth + (1 - share) * beside
    weight = Whitening.of([hold]) if whitened else Whitening.none((SIZE, SIZE))
    bar = np.quantile(measured_similarity(hold, samples, weight), 0.99)
    return float((np.diag(measured_similarity(scans, samples, weight)) > bar).mean())


@pytest.mark.parametrize("acceleration", [1, 2, 4, 8])
def test_whitening_finds_more_partial_copies(acceleration: float) -> None:
    assert true_positive_rate(acceleration, 0.4, True) > true_positive_rate(acceleration, 0.4, False) + 0.1


def test_copies_of_seventy_percent_are_found_at_every_acceleration() -> None:
    for acceleration in (1, 4, 8):
        assert true_positive_rate(acceleration, 0.7, True) >= 0.95


@pytest.mark.parametrize("coils", [1, 4])
def test_similarity_is_the_formula(coils: int) -> None:
    images = _phantoms(7, 4)
    scans, truth = _scans(images, 4, coils, "t")
    weight = Whitening.of([scans])
    found = measured_similarity(scans, truth, weight)
    for i in range(7):
        one = scans[i : i + 1]
        seen = one.operator().forward(truth)
        y, w = one.without_unmeasured().y, weight.weight
        numerator = (w * seen.conj() * y).sum((1, 2, 3)).abs()
        norms = (w * seen.abs().square()).sum((1, 2, 3)).sqrt() * (w * y.abs().square()).sum().sqrt()
        assert found[i] == pytest.approx((numerator / norms).numpy(), abs=1e-4)


def test_with_coils_only_the_best_are_ranked_again_and_none_overtakes_them() -> None:
    scans, truth = _scans(_phantoms(12, 5), 4, 4, "t")
    weight = Whitening.of([scans])
    exact, cut = (measured_similarity(scans, truth, weight, again=n) for n in (12, 3))
    assert np.array_equal(exact.argmax(1), cut.argmax(1))
    for full, short in zip(exact, cut, strict=True):
        again = np.isclose(full, short, atol=1e-12)
        assert again.sum() >= 3
        assert short[~again].max(initial=0) <= short[again].min() + 1e-12


def test_unmeasured_values_do_not_enter() -> None:
    scans, truth = _scans(_phantoms(3, 6), 4, 2, "t")
    weight = Whitening.of([scans])
    before = measured_similarity(scans, truth, weight)
    spoiled = torch.where(scans.mask, scans.y, torch.full_like(scans.y, complex(math.nan, 0)))
    object.__setattr__(scans, "y", spoiled)
    assert np.array_equal(measured_similarity(scans, truth, weight), before)


def test_noise_explains_exact_copies_and_nothing_else() -> None:
    rng = torch.Generator().manual_seed(0)
    noise_std, m = 0.1, 500
    p = []
    for _ in range(400):
        noise = noise_std * torch.randn(m, 2, generator=rng)
        p.append(exact_copy_p_value(float(noise.square().sum()), noise_std, m))
    assert np.mean(p) == pytest.approx(0.5, abs=0.05)
    assert np.mean(np.array(p) < 0.1) == pytest.approx(0.1, abs=0.05)
    assert exact_copy_p_value(1.3 * 2 * m * noise_std**2, noise_std, m) < 1e-6

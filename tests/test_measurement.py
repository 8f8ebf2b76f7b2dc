"""Measurements: the scale is unbiased and reads measured samples only; batches fit or are refused."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest
import torch
from torch import Generator, Tensor

from ambient_mri.errors import InputError
from ambient_mri.fourier import fft2c
from ambient_mri.measurement import DATA_STD, Measurement, collate, energy_scale
from ambient_mri.operators import Fourier, Identity, Sense
from ambient_mri.patterns import GaussianLines, Pattern, Pixels, RandomLines, RandomPoints
from tests.laws.expectation import check_mean, check_not_mean
from tests.laws.operators import complex_normal

SHAPE = (13, 18)


def _rng(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def _maps(coils: int = 3) -> Tensor:
    maps = complex_normal(1, coils, *SHAPE, rng=_rng(7))
    return maps / maps.abs().square().sum(1, keepdim=True).sqrt()


def _measurement(scans: int = 2, *, coils: int = 3, lines: bool = True, maps: bool = True) -> Measurement:
    mask = torch.rand(scans, 1, 1 if lines else SHAPE[0], SHAPE[1], generator=_rng(1)) < 0.5
    return Measurement(
        y=complex_normal(scans, coils, *SHAPE, rng=_rng(2)), mask=mask,
        sensitivity_maps=_maps(coils).expand(scans, -1, -1, -1) if maps else None,
        noise_std=torch.full((scans,), 0.1), scale=torch.arange(1.0, scans + 1), domain="kspace",
        scan_ids=tuple(f"scan/{i}" for i in range(scans)), affine=torch.eye(4).expand(scans, 4, 4),
    )  # fmt: skip


@pytest.mark.parametrize(
    "pattern", [RandomLines(3, 0.2), GaussianLines(3, 0.1), RandomPoints(3, 0.2), Pixels(0.6)], ids=repr
)
@pytest.mark.parametrize("coils", [1, 3])
def test_the_energy_is_unbiased(pattern: Pattern, coils: int) -> None:
    """E[scale²] = ‖x‖² / (pixels σ_d²), although few samples are measured and all are noisy."""
    image = complex_normal(1, 1, *SHAPE, rng=_rng()) + 1.5
    encoding = Identity() if isinstance(pattern, Pixels) else Sense(_maps(coils)) if coils > 1 else Fourier()
    clean, noise_std, rng, squares, unweighted = encoding.forward(image), 0.3, _rng(3), [], []
    probability = pattern.probability(SHAPE)
    for _ in range(400):
        y = clean + noise_std * complex_normal(*clean.shape, rng=rng)
        mask = pattern.draw(SHAPE, rng)[None, None]
        squares.append(energy_scale(y, mask, probability, noise_std) ** 2)
        unweighted.append(energy_scale(y, mask, torch.ones_like(probability), noise_std) ** 2)
    expected = float(image.abs().square().mean()) / DATA_STD**2
    check_mean(torch.tensor(squares), expected)
    check_not_mean(torch.tensor(unweighted), expected)


def test_noise_is_subtracted() -> None:
    clean = complex_normal(40, 2, *SHAPE, rng=_rng())
    noisy = clean + 2 * complex_normal(*clean.shape, rng=_rng(1))
    everything, probability = torch.ones(40, 1, 1, SHAPE[1], dtype=torch.bool), torch.ones(1, SHAPE[1])
    true = energy_scale(clean, everything, probability, 0.0)
    assert energy_scale(noisy, everything, probability, 2.0) == pytest.approx(true, rel=0.05)
    assert energy_scale(noisy, everything, probability, 0.0) > 2 * true


def test_normalised_data_have_standard_deviation_one_half() -> None:
    x = complex_normal(3, 1, *SHAPE, rng=_rng()) * 700
    everything = torch.ones(3, 1, 1, SHAPE[1], dtype=torch.bool)
    scale = energy_scale(Fourier().forward(x), everything, torch.ones(1, SHAPE[1]), 0.0)
    assert float((x / scale).abs().square().mean().sqrt()) == pytest.approx(DATA_STD, rel=1e-4)


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), 1e30])
def test_the_scale_reads_measured_samples_only(poison: float) -> None:
    pattern = RandomLines(3)
    y = complex_normal(2, 3, *SHAPE, rng=_rng())
    mask = torch.stack([pattern.draw(SHAPE, _rng(i))[None] for i in range(2)])
    poisoned = torch.where(mask, y, poison)
    probability = pattern.probability(SHAPE)
    assert energy_scale(poisoned, mask, probability, 0.1) == energy_scale(y, mask, probability, 0.1)


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_no_signal_is_refused_in_one_line(value: float) -> None:
    y = torch.full((1, 1, *SHAPE), value, dtype=torch.complex64)
    mask = torch.ones(1, 1, 1, SHAPE[1], dtype=torch.bool)
    with pytest.raises(InputError, match="no signal") as caught:
        energy_scale(y, mask, torch.ones(1, SHAPE[1]), 0.1)
    assert "\n" not in str(caught.value)


def test_there_is_no_field_for_a_clean_image() -> None:
    names = {field.name for field in fields(Measurement)}
    facts = {"noise_std", "scale", "domain", "scan_ids", "affine", "acquired", "component"}
    assert names == {"y", "mask", "sensitivity_maps"} | facts


def test_zero_filled_image_and_encoding() -> None:
    m = _measurement()
    assert isinstance(m.encoding(), Sense)
    assert isinstance(replace(m, sensitivity_maps=None).encoding(), Fourier)
    assert isinstance(replace(m, domain="image").encoding(), Identity)
    poisoned = replace(m, y=torch.where(m.mask, m.y, torch.nan))
    assert torch.equal(poisoned.adjoint(), m.adjoint())
    assert m.adjoint().shape == (2, 1, *SHAPE)
    assert m.image_shape == SHAPE
    assert not torch.view_as_real(poisoned.without_unmeasured().y).isnan().any()


@pytest.mark.parametrize(
    ("first", "last", "size"), [(4, 11, 16), (5, 12, 16), (0, 10, 16), (3, 12, 16), (4, 10, 15), (0, 9, 15)]
)
def test_images_keep_the_resolution_of_the_scanner(first: int, last: int, size: int) -> None:
    """Lines as far out as the farthest acquired one stay, on both sides; the others go; twice is as once."""
    line = torch.arange(size)
    acquired = ((line >= first) & (line <= last))[None, None, None].expand(2, 1, 1, size)
    m = replace(_measurement(), acquired=acquired, y=torch.zeros(2, 3, 6, size, dtype=torch.complex64),
                mask=torch.ones(2, 1, 1, size, dtype=torch.bool))  # fmt: skip
    images = torch.randn(2, 3, 6, size, dtype=torch.complex64, generator=torch.Generator().manual_seed(0))
    limited = m.band_limited(images)
    reach = max(size // 2 - first, last - size // 2)
    stays = (line - size // 2).abs() <= reach
    expected = fft2c(images) * stays
    assert torch.allclose(fft2c(limited), expected, atol=1e-5)
    assert torch.allclose(m.band_limited(limited), limited, atol=1e-5)
    assert replace(m, acquired=None).band_limited(images) is images


def test_masks_must_fit() -> None:
    m = _measurement()
    with pytest.raises(InputError, match="does not fit"):
        replace(m, mask=torch.ones(2, 1, 1, SHAPE[1] + 1, dtype=torch.bool))
    with pytest.raises(InputError, match="does not fit"):
        replace(m, mask=torch.ones(2, 1, SHAPE[0] - 1, SHAPE[1], dtype=torch.bool))
    with pytest.raises(TypeError, match="bool"):
        replace(m, mask=m.mask.float())


def test_rows_and_batches_are_inverse() -> None:
    m = _measurement(4)
    parts = [m[i : i + 1] for i in range(4)]
    joined = collate(parts)
    for name in ("y", "mask", "sensitivity_maps", "noise_std", "scale", "affine"):
        assert torch.equal(getattr(joined, name), getattr(m, name))
    assert joined.scan_ids == m.scan_ids
    assert m[[2, 0]].scan_ids == ("scan/2", "scan/0")
    assert torch.equal(m[[2, 0]].y, m.y[[2, 0]])
    assert len(m[1:3]) == 2


def test_line_masks_and_point_masks_share_a_batch() -> None:
    lines, points = _measurement(1), _measurement(1, lines=False)
    joined = collate([lines, points])
    assert joined.mask.shape == (2, 1, *SHAPE)
    for i, part in enumerate((lines, points)):
        assert torch.allclose(joined[[i]].adjoint(), part.adjoint(), atol=1e-6)


def test_padded_scans_and_others_share_a_batch() -> None:
    padded, whole = _measurement(2), _measurement(1)
    assert collate([whole, whole]).acquired is None
    acquired = torch.arange(SHAPE[1]).expand(2, 1, 1, -1) >= 4
    both = collate([whole, replace(padded, acquired=acquired)])
    assert both.acquired is not None
    assert torch.equal(both.acquired, torch.cat([torch.ones(1, 1, 1, SHAPE[1], dtype=torch.bool), acquired]))


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (replace(_measurement(1), y=torch.zeros(1, 3, 13, 20, dtype=torch.complex64),
                 mask=torch.ones(1, 1, 1, 20, dtype=torch.bool)), "cannot share a batch"),
        (_measurement(1, coils=2), "cannot share a batch"),
        (replace(_measurement(1), domain="image"), "cannot share a batch"),
        (_measurement(1, maps=False), "with and without sensitivity maps"),
    ],
    ids=["size", "coils", "domain", "maps"],
)  # fmt: skip
def test_batches_that_do_not_fit_are_refused(other: Measurement, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        collate([_measurement(2), other])
    assert "scan/0" in str(caught.value)
    with pytest.raises(InputError, match=message):
        collate([other, _measurement(2)])


def test_moving_keeps_everything() -> None:
    m = _measurement()
    moved = m.to("cpu")
    assert torch.equal(moved.y, m.y)
    assert moved.scan_ids == m.scan_ids
    assert replace(m, sensitivity_maps=None, affine=None).to("cpu").sensitivity_maps is None

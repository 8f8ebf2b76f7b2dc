"""Classical methods: equal to sigpy's own apps, converged, independent of the batch and of unmeasured samples."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from ambient_mri.errors import InputError
from ambient_mri.measurement import Measurement
from ambient_mri.operators import Sense, keep, to_sigpy
from ambient_mri.patterns import Pixels, RandomLines
from ambient_mri.reconstruction import classical

N, COILS = 32, 3


def measurement(batch: int = 2, noise: float = 0.02, shape: tuple[int, int] = (N, N)) -> tuple[Measurement, Tensor]:
    """Two tones in an ellipse, simulated coils, R=2 lines."""
    rng = torch.Generator().manual_seed(0)
    ys, xs = torch.meshgrid(torch.linspace(-1, 1, shape[0]), torch.linspace(-1, 1, shape[1]), indexing="ij")
    inside = ((xs / 0.8) ** 2 + (ys / 0.9) ** 2 < 1).float()
    rows = [inside * (0.6 + 0.5 * ((xs - 0.1 * b) ** 2 + ys**2 < 0.2)) for b in range(batch)]
    truth = torch.stack(rows)[:, None].to(torch.complex64)
    centres = [(-1.2, 0.0), (1.0, 1.0), (0.9, -1.1)]
    coils = torch.stack([torch.exp(-((xs - a) ** 2 + (ys - b) ** 2) / 2 + 1j * (a * ys - b * xs)) for a, b in centres])
    maps = (coils / coils.abs().square().sum(0).sqrt()).to(torch.complex64).expand(batch, -1, -1, -1)
    mask = torch.stack([RandomLines(2.0, 0.15).draw(shape, rng)[None] for _ in range(batch)])
    white = torch.complex(*(torch.randn((batch, COILS, *shape), generator=rng) for _ in range(2)))
    y = keep(mask, Sense(maps).forward(truth) + noise * white)
    return Measurement(
        y, mask, maps, torch.full((batch,), noise), torch.ones(batch), "kspace", tuple(f"s{i}" for i in range(batch))
    ), truth


def pixels(missing: float = 0.5) -> tuple[Measurement, Tensor]:
    m, truth = measurement(2)
    rng = torch.Generator().manual_seed(1)
    mask = torch.stack([Pixels(missing).draw((N, N), rng)[None] for _ in range(2)])
    y = keep(mask, truth + 0.01 * torch.randn((2, 1, N, N), generator=rng))
    return replace(m, y=y, mask=mask, sensitivity_maps=None, domain="image"), truth


def rms(x: Tensor) -> float:
    return float(x.abs().square().mean().sqrt())


@pytest.mark.parametrize("strength", [0.003, 0.1])
def test_cg_sense_equals_sigpy(strength: float) -> None:
    import sigpy.mri.app as app

    m, _ = measurement()
    ours = classical.cg_sense(m, strength)
    assert m.sensitivity_maps is not None
    for b in range(2):
        maps, y = m.sensitivity_maps[b].numpy(), m.y[b].numpy()
        theirs = app.SenseRecon(y, maps, lamda=strength, max_iter=300, tol=1e-6, show_pbar=False).run()
        assert rms(ours[b, 0] - torch.from_numpy(theirs)) < 1e-3 * rms(ours)


def test_l1_wavelet_equals_sigpy() -> None:
    import sigpy.mri.app as app

    m, _ = measurement()
    ours = classical.l1_wavelet(m, 0.01, wavelet="db4", shifts=False, iterations=60)
    assert m.sensitivity_maps is not None
    for b in range(2):
        maps, y = m.sensitivity_maps[b].numpy(), m.y[b].numpy()
        theirs = app.L1WaveletRecon(y, maps, 0.01, wave_name="db4", max_iter=60, alpha=1.0, show_pbar=False).run()
        assert rms(ours[b, 0] - torch.from_numpy(theirs)) < 1e-4 * rms(ours)


def test_total_variation_equals_sigpy() -> None:
    import sigpy.mri.app as app

    m, _ = measurement(1)
    A = to_sigpy(m.operator(), m.image_shape)
    ours = torch.from_numpy(classical.tv_fit(A, m.y[0].numpy(), 1.0, 0.01, 600, isotropic=False))
    assert m.sensitivity_maps is not None
    theirs = app.TotalVariationRecon(
        m.y[0].numpy(), m.sensitivity_maps[0].numpy(), 0.01, max_iter=3000, show_pbar=False
    ).run()
    assert rms(ours - torch.from_numpy(theirs)) < 5e-3 * rms(ours)


def _objective(m: Measurement, x: Tensor, strength: float) -> float:
    data = 0.5 * (m.operator().forward(x) - m.y).abs().square().sum()
    steps = torch.stack([x - x.roll(1, -1), x - x.roll(1, -2)])
    return float(data + strength * steps.abs().square().sum(0).sqrt().sum())


@pytest.mark.parametrize("strength", [0.0003, 0.002, 0.02])
def test_total_variation_has_converged(strength: float) -> None:
    m, _ = measurement()
    x, longer = (classical.total_variation(m, strength, iterations=n) for n in (None, 2000))
    assert _objective(m, x, strength) < 1.005 * _objective(m, longer, strength)
    rng = np.random.default_rng(0)
    for _ in range(5):  # and it is the isotropic problem that was solved: no neighbour is better
        there = longer + 1e-2 * torch.from_numpy(rng.standard_normal((2, 1, N, N)).astype("f4"))
        assert _objective(m, there, strength) > _objective(m, longer, strength)


@pytest.mark.parametrize("strength", [0.0001, 0.003])
def test_l1_wavelet_has_converged(strength: float) -> None:
    m, _ = measurement(noise=0.2 * strength)
    x, longer = (classical.l1_wavelet(m, strength, shifts=False, iterations=n) for n in (None, 2000))
    assert rms(x - longer) < 0.02 * rms(longer)


def test_total_variation_near_an_image_has_converged_and_stays_near_it() -> None:
    m, truth = measurement(batch=2)
    expected = truth + 0.05 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(1))

    def objective(x: Tensor) -> float:
        return _objective(m, x, 0.003) + 0.5 * 0.1 * float((x - expected).abs().square().sum())

    x = classical.total_variation(m, 0.003, expected=expected, consistency=0.1)
    exact = classical.total_variation(m, 0.003, expected=expected, consistency=0.1, iterations=3000)
    assert objective(x) == pytest.approx(objective(exact), rel=1e-4)
    rng = torch.Generator().manual_seed(2)
    for size in (0.1, 0.01, 0.003):  # a convex objective: no step away from its minimum lowers it
        away = size * torch.randn(truth.shape, generator=rng)
        assert objective(exact + away) > objective(exact)
        assert objective(exact + size * (expected - exact)) > objective(exact) * (1 - 1e-6)
        assert objective(exact - size * exact) > objective(exact) * (1 - 1e-6)
    assert rms(x - truth) < min(rms(classical.total_variation(m, 0.003) - truth), rms(expected - truth))
    assert torch.equal(classical.total_variation(m, 0.003, expected=expected, consistency=0.1), x)


def test_regularised_methods_beat_zero_filling() -> None:
    m, truth = measurement()
    error = rms(classical.zero_filled(m) - truth)
    assert rms(classical.cg_sense(m, 0.01) - truth) < error
    assert rms(classical.l1_wavelet(m, 0.004) - truth) < 0.5 * error
    assert rms(classical.total_variation(m, 0.004) - truth) < 0.5 * error


@pytest.mark.parametrize("method", ["cg_sense", "l1_wavelet", "total_variation"])
def test_batches_change_nothing_and_unmeasured_samples_are_never_read(method: str) -> None:
    m, _ = measurement(3, shape=(17, 22))
    run = getattr(classical, method)
    together = run(m, 0.01)
    poisoned = replace(m, y=torch.where(m.mask, m.y, torch.nan))
    for b in range(3):
        assert torch.allclose(together[b : b + 1], run(poisoned[b : b + 1], 0.01), atol=2e-5)


def test_inpainting_of_missing_pixels() -> None:
    m, truth = pixels()
    error = rms(classical.zero_filled(m) - truth)
    for image in (classical.total_variation(m, 0.01), classical.l1_wavelet(m, 0.01), classical.biharmonic(m)):
        assert image.shape == truth.shape
        assert rms(image - truth) < 0.4 * error
    filled = classical.biharmonic(replace(m, y=torch.where(m.mask, m.y, torch.nan)))
    assert torch.allclose(filled[m.mask], m.y[m.mask].real.to(filled), atol=1e-5)


def test_biharmonic_refuses_kspace() -> None:
    with pytest.raises(InputError, match="pixels"):
        classical.biharmonic(measurement()[0])


def test_one_coil_without_maps() -> None:
    m, _ = measurement()
    alone = replace(m, y=m.y[:, :1], sensitivity_maps=None)
    for image in (classical.cg_sense(alone, 0.01), classical.total_variation(alone, 0.01)):
        assert torch.isfinite(torch.view_as_real(image)).all()

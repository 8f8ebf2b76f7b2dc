"""Coils: ESPIRiT equals sigpy, reads measured samples only; phase, prewhitening and noise level."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ambient_mri.coils import (
    absorb_phase,
    calibration_region,
    dominant_eigenvectors,
    edge_samples,
    espirit_maps,
    noise_std,
    prewhiten,
)
from ambient_mri.errors import InputError
from ambient_mri.operators import Sense

N = 48


def _scan(noise: float = 0.0, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """An ellipse with structure and a smooth phase, 4 coils: image, maps, k-space."""
    import sigpy.mri as mr

    rng = torch.Generator().manual_seed(seed)
    ys, xs = torch.meshgrid(torch.linspace(-1, 1, N), torch.linspace(-1, 1, N), indexing="ij")
    magnitude = ((xs / 0.7) ** 2 + (ys / 0.85) ** 2 < 1) * (1 + 0.4 * torch.cos(9 * xs) * torch.cos(7 * ys))
    image = torch.polar(magnitude, 0.7 + 0.9 * xs - 0.6 * ys + 0.5 * xs * ys)[None, None]
    maps = torch.tensor(mr.birdcage_maps((4, N, N)).astype("c8"))[None]
    maps = maps / maps.abs().square().sum(1, keepdim=True).sqrt()
    y = Sense(maps).forward(image)
    white = torch.complex(torch.randn(y.shape, generator=rng), torch.randn(y.shape, generator=rng))
    return image, maps, y + noise * white


def _lines(count: int) -> torch.Tensor:
    mask = torch.zeros(1, 1, 1, N, dtype=torch.bool)
    mask[..., N // 2 - count // 2 : N // 2 - count // 2 + count] = True
    mask[..., ::5] = True
    return mask


def test_espirit_equals_sigpy_on_a_square() -> None:
    import sigpy.mri as mr

    _, _, y = _scan(0.002)
    mask = torch.zeros(1, 1, N, N, dtype=torch.bool)
    mask[..., N // 2 - 12 : N // 2 + 13, N // 2 - 12 : N // 2 + 13] = True
    ours = espirit_maps(y, mask, calibration_width=24)[0].numpy()
    theirs = mr.app.EspiritCalib(y[0].numpy(), calib_width=24, max_iter=300, show_pbar=False).run()
    both = (np.abs(ours).sum(0) > 0) & (np.abs(theirs).sum(0) > 0)
    assert both.mean() > 0.3
    assert ((np.abs(ours).sum(0) > 0) != (np.abs(theirs).sum(0) > 0)).mean() < 0.02
    assert np.abs(ours - theirs)[:, both].max() < 5e-3


def test_dominant_eigenvectors_equal_the_dense_decomposition() -> None:
    rng = torch.Generator().manual_seed(0)
    factor = torch.complex(torch.randn(6, 7, 5, 5, generator=rng), torch.randn(6, 7, 5, 5, generator=rng))
    basis, _ = torch.linalg.qr(factor)
    spectrum = torch.tensor([1.0, 0.7, 0.5, 0.1, 0.0])
    matrices = basis * spectrum @ basis.mH
    values, vectors = dominant_eigenvectors(matrices, torch.ones(1, 7, 5, dtype=torch.complex64))
    assert torch.allclose(values, torch.ones(()), atol=1e-5)
    overlap = (vectors.conj() * basis[..., 0]).sum(-1).abs()
    assert overlap.min() > 0.99999
    weak, _ = dominant_eigenvectors(0.5 * matrices, torch.ones(1, 7, 5, dtype=torch.complex64), above=0.9, at_most=100)
    assert (weak < 0.9).all(), "what need not settle stays below"


@pytest.mark.slow
def test_espirit_of_a_real_acquisition_equals_sigpy(real_data: Path) -> None:
    import sigpy.mri as mr

    file = real_data / "kspace" / "sigpy_brain8_poisson_230x180.npy"
    if not file.exists():
        pytest.skip(f"{file} is absent")
    y = torch.from_numpy(np.load(file))[None]
    y = y / y.abs().max()
    ours = espirit_maps(y, y.abs().sum(1, keepdim=True) > 0)[0].numpy()
    theirs = mr.app.EspiritCalib(y[0].numpy(), calib_width=24, show_pbar=False).run()
    both = (np.abs(ours).sum(0) > 0) & (np.abs(theirs).sum(0) > 0)
    assert both.mean() > 0.2
    assert ((np.abs(ours).sum(0) > 0) != (np.abs(theirs).sum(0) > 0)).mean() < 0.005
    assert np.abs((ours.conj() * theirs).sum(0))[both].mean() > 0.9999


def test_espirit_from_lines_finds_the_maps_and_reads_nothing_unmeasured() -> None:
    image, maps, y = _scan(0.002)
    mask = _lines(12)
    poisoned = torch.where(mask, y, torch.nan)
    found = espirit_maps(poisoned, mask, crop=0.8)
    assert torch.isfinite(torch.view_as_real(found)).all()
    power = found.abs().square().sum(1)
    support = power > 0
    assert torch.allclose(power[support], torch.ones(()), atol=1e-4)
    inside = (image.abs()[0, 0] > 0) & support[0]
    assert inside.sum() > 0.95 * (image.abs() > 0).sum()
    overlap = (found.conj() * maps).sum(1).abs()[0][inside]
    assert overlap.mean() > 0.99


def test_espirit_refuses_scans_without_calibration() -> None:
    mask = torch.zeros(1, 1, 1, N, dtype=torch.bool)
    mask[..., ::4] = True
    with pytest.raises(InputError, match="calibration lines"):
        espirit_maps(_scan()[2], mask)


def test_absorbed_phase_makes_images_nearly_real_from_calibration_lines_only() -> None:
    _, maps, y = _scan(0.002)
    mask = _lines(5)
    before = Sense(maps).adjoint(y)
    absorbed = absorb_phase(maps, torch.where(mask, y, torch.nan), mask)
    after = Sense(absorbed).adjoint(y)
    assert torch.allclose(absorbed.abs(), maps.abs(), atol=1e-5)
    assert before.imag.norm() > 0.5 * before.norm()
    assert after.imag.norm() < 0.15 * after.norm()
    assert after.real.sum() > 0
    turned = absorb_phase(maps * torch.polar(torch.ones(N, N), torch.randn(N, N)), y, mask)
    assert torch.allclose(turned, absorbed, atol=1e-4), "a phase that the maps had before must cancel"


def test_absorbed_phase_of_a_whole_scan_is_as_smooth_as_that_of_an_undersampled_one() -> None:
    _, maps, y = _scan(0.05)
    undersampled = absorb_phase(maps, y, _lines(9))
    assert torch.allclose(absorb_phase(maps, y, torch.ones(1, 1, 1, N, dtype=torch.bool)), undersampled, atol=1e-5)


def test_absorbed_phase_is_unchanged_where_the_centre_is_missing() -> None:
    _, maps, y = _scan()
    mask = _lines(5)
    mask[..., N // 2] = False
    assert torch.allclose(absorb_phase(maps, y, mask), maps)


@pytest.mark.parametrize("shape", [(1, 17), (11, 17), (12, 16)])
def test_calibration_region_is_measured_and_centred(shape: tuple[int, int]) -> None:
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(3)) < 0.4
    centre = [0 if shape[0] == 1 else shape[0] // 2, shape[1] // 2]
    mask[max(centre[0] - 2, 0) : centre[0] + 3, centre[1] - 3 : centre[1] + 4] = True
    rows, columns = calibration_region(mask)
    assert mask[rows, columns].all()
    assert columns.start <= centre[1] - 3
    assert columns.stop >= centre[1] + 4
    full_rows, full_columns = calibration_region(torch.ones(shape, dtype=torch.bool))
    assert (full_rows.stop - full_rows.start, full_columns.stop - full_columns.start) == shape


def test_prewhitening_gives_unit_white_noise() -> None:
    rng = torch.Generator().manual_seed(1)

    def noise(count: int) -> torch.Tensor:
        return torch.complex(torch.randn(4, count, generator=rng), torch.randn(4, count, generator=rng))

    mixing = torch.complex(torch.randn(4, 4, generator=rng), torch.randn(4, 4, generator=rng))
    y = (mixing @ noise(1600)).reshape(1, 4, 40, 40)
    white = prewhiten(y, mixing @ noise(20000))
    covariance = white[0].flatten(1) @ white[0].flatten(1).mH / 3200
    assert torch.allclose(covariance, torch.eye(4, dtype=torch.complex64), atol=0.12)
    assert noise_std(white) == pytest.approx(1.0, abs=0.05)
    with pytest.raises(InputError, match="coils"):
        prewhiten(y, noise(100)[:3])


def test_noise_level_from_the_ends_of_the_readout() -> None:
    _, _, y = _scan(0.2)
    mask = _lines(8)
    assert noise_std(edge_samples(torch.where(mask, y, torch.nan), mask)) == pytest.approx(0.2, rel=0.15)


def test_maps_of_a_real_acquisition_predict_samples_that_were_kept_back(real_data: Path) -> None:
    from ambient_mri.operators import Masked, keep
    from ambient_mri.solvers import conjugate_gradients

    file = real_data / "kspace" / "sigpy_brain8_poisson_230x180.npy"
    if not file.exists():
        pytest.skip(f"{file} is absent")
    y = torch.from_numpy(np.load(file))[None]
    y = y / y.abs().max()
    sampled = y.abs().sum(1, keepdim=True) > 0  # the file brings no mask
    held = sampled & (torch.rand(sampled.shape, generator=torch.Generator().manual_seed(0)) < 0.1)
    held[..., 103:127, 78:102] = False
    mask = sampled & ~held
    maps = absorb_phase(espirit_maps(torch.where(mask, y, torch.nan), mask), torch.where(mask, y, torch.nan), mask)
    A = Masked(Sense(maps), mask)
    image = conjugate_gradients(A, A.adjoint(y), torch.tensor(1e-3), max_iterations=60)
    predicted = Sense(maps).forward(image)
    error = keep(held, predicted - y).norm() / keep(held, y).norm()
    assert error < 0.6, "zeros would give 1"
    assert image.real.clamp_min(0).norm() > 0.8 * image.norm(), "most of the image should be real and positive"

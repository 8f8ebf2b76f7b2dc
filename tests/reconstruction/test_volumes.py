"""Scans in three dimensions: what is simulated is what was asked for, and missing points of other slices matter."""

from __future__ import annotations

import pytest
import torch
from torch import Generator, Tensor

from ambient_mri.data.cohort import subject
from ambient_mri.data.simulation import Acquisition
from ambient_mri.errors import InputError
from ambient_mri.evaluation.metrics import psnr
from ambient_mri.evaluation.volumes import SimulatedVolume, simulated
from ambient_mri.fourier import fft2c
from ambient_mri.patterns import PoissonDisc
from ambient_mri.prior.bundle import load_bundle
from ambient_mri.prior.preconditioning import mask_channel
from ambient_mri.prior.shipped import located
from ambient_mri.reconstruction import observed, volumes
from ambient_mri.sampling.one_step import one_step
from tests.laws.operators import complex_normal, relative

SLICES, SIZE, SIGMA = 5, 32, 0.02
ACQUISITION = Acquisition(pattern=PoissonDisc(3, 0.1), coils=4, noise_std=SIGMA)


@pytest.fixture(scope="module")
def scan() -> SimulatedVolume:
    images = subject(0, size=SIZE, slices=SLICES).images
    return simulated(images, ACQUISITION, Generator().manual_seed(0))


def _psnr(scan: SimulatedVolume, image: Tensor) -> float:
    return psnr(scan.truth[:, 0].abs().numpy(), image[:, 0].abs().numpy())


def test_the_encoding_is_a_transform_of_coil_images_along_three_axes() -> None:
    rng = Generator().manual_seed(1)
    maps, x = complex_normal(3, 2, 4, 6, rng=rng), complex_normal(3, 1, 4, 6, rng=rng)
    mask = torch.rand(3, 4, generator=rng) < 0.5
    found = volumes.encoding(maps, mask).forward(x).reshape(2, 3, 4, 6)
    planes = fft2c(maps * x).transpose(0, 1)  # (c, z, y, x), z still in space
    along_z = torch.fft.fftshift(torch.fft.fft(torch.fft.ifftshift(planes, 1), dim=1, norm="ortho"), 1)
    assert relative(found, along_z * mask[None, :, :, None]) < 1e-5


def test_a_simulated_volume_has_the_noise_and_the_points_asked_for(scan: SimulatedVolume) -> None:
    residual = scan.observed.residual(scan.truth)
    measured = residual[residual != 0]
    assert float(torch.view_as_real(measured).std()) == pytest.approx(SIGMA, rel=0.03)
    share = len(measured) / residual.numel()
    assert share == pytest.approx(1 / 3, rel=0.15)
    told = mask_channel(scan.observed.A, scan.truth)
    assert told.unique().tolist() == pytest.approx([share - 0.5], abs=1e-3)
    assert float(scan.truth.abs().std()) == pytest.approx(0.5, rel=1e-3)
    assert float((scan.maps.abs().square().sum(1) - 1).abs().max()) < 1e-4


def test_a_prior_of_slices_is_ahead_of_what_knows_none(scan: SimulatedVolume) -> None:
    bundle = load_bundle(located("brain_flair_64"))
    with torch.inference_mode():
        ours = _psnr(scan, one_step(bundle.prior, scan.observed, consistency=0.03))
    least_squares = max(_psnr(scan, observed.cg_sense(scan.observed, lam)) for lam in (0.01, 0.03, 0.1, 0.3))
    assert ours > least_squares + 1


def test_total_variation_and_wavelets_reach_a_volume(scan: SimulatedVolume) -> None:
    start = _psnr(scan, observed.cg_sense(scan.observed, 0.1))
    assert _psnr(scan, observed.total_variation(scan.observed, 0.003, iterations=150)) > start
    assert _psnr(scan, observed.l1_wavelet(scan.observed, 0.01, iterations=60)) > start


def test_a_mask_of_another_volume_is_refused(scan: SimulatedVolume) -> None:
    with pytest.raises(InputError, match=r"phase encodes for 5 slices of 32 rows.*as \(z, y\)"):
        volumes.encoding(scan.maps, torch.ones(SIZE, SLICES, dtype=torch.bool))

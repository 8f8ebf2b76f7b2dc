"""Radial scans: the NUFFT is the encoding it claims to be, and one step on it is the posterior mean."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Generator

from ambient_mri.data.dataset import open_evaluation
from ambient_mri.data.simulation import birdcage_maps
from ambient_mri.data.spec import load_spec
from ambient_mri.errors import InputError
from ambient_mri.evaluation.metrics import psnr
from ambient_mri.evaluation.radial import simulated
from ambient_mri.operators import Sense
from ambient_mri.prior.preconditioning import mask_channel
from ambient_mri.reconstruction import noncartesian
from ambient_mri.reconstruction import observed as observed_methods
from ambient_mri.sampling.one_step import one_step
from ambient_mri.sampling.plug_and_play import plug_and_play
from tests.closed_form.gaussian import DOUBLE, GaussianPrior, covariance
from tests.laws.operators import check_linear_operator, complex_normal, relative

SHAPE, COILS = (11, 9), 3
MAPS = birdcage_maps(COILS, SHAPE, Generator().manual_seed(0))[0]


def test_the_encoding_is_a_linear_operator_and_on_the_grid_it_is_sense() -> None:
    rng = Generator().manual_seed(1)
    radial = noncartesian.encoding(MAPS, noncartesian.golden_angle(7, SHAPE))
    image, samples = complex_normal(2, 1, *SHAPE, rng=rng), complex_normal(2, COILS, 7, 22, rng=rng)
    check_linear_operator(radial, image, samples)
    grid = np.stack(np.meshgrid(*(np.arange(n) - n // 2 for n in SHAPE), indexing="ij"), -1).astype(np.float32)
    found = noncartesian.encoding(MAPS, grid).forward(image)
    assert relative(found, Sense(MAPS[None]).forward(image)) < 1e-2  # sigpy's gridding kernel


def test_spokes_reach_the_edge_and_turn_by_the_golden_angle() -> None:
    spokes = noncartesian.golden_angle(3, (16, 8))
    assert spokes.shape == (3, 32, 2)
    assert spokes[0, 0].tolist() == pytest.approx([0.0, -4.0])
    assert spokes[:, 16].tolist() == [[0.0, 0.0]] * 3
    angle = math.atan2(spokes[1, -1, 0] / 16, spokes[1, -1, 1] / 8)
    assert math.degrees(angle) == pytest.approx(111.246, abs=1e-2)
    assert noncartesian.acceleration(noncartesian.golden_angle(25, (64, 64)), (64, 64)) == pytest.approx(4.02, abs=0.01)


def test_coordinates_in_other_units_are_refused() -> None:
    with pytest.raises(InputError, match="cycles per field of view"):
        noncartesian.encoding(MAPS, 2 * noncartesian.golden_angle(7, SHAPE))
    nowhere = noncartesian.golden_angle(7, SHAPE)
    nowhere[3, 5] = np.nan  # a NUFFT makes finite numbers of it
    with pytest.raises(InputError, match="reach nan"):
        noncartesian.encoding(MAPS, nowhere)


def test_one_step_is_the_posterior_mean() -> None:
    rng, sigma = Generator().manual_seed(2), 0.1
    spokes, cov = noncartesian.golden_angle(4, SHAPE), covariance(SHAPE)
    root = torch.linalg.cholesky(cov)
    x = (root @ complex_normal(len(root), rng=rng, dtype=DOUBLE)).reshape(1, 1, *SHAPE).to(torch.complex64)
    y = noncartesian.encoding(MAPS, spokes).forward(x)
    observed = noncartesian.observation(y + sigma * complex_normal(*y.shape, rng=rng), MAPS, spokes, sigma)
    found = one_step(GaussianPrior(cov), observed)
    dense = observed.A.forward(torch.eye(99, dtype=torch.complex64).reshape(99, 1, *SHAPE)).reshape(99, -1).T.to(DOUBLE)
    noise = 2 * sigma**2 * torch.eye(len(dense), dtype=DOUBLE)
    expected = cov @ dense.mH @ torch.linalg.solve(dense @ cov @ dense.mH + noise, observed.y.flatten().to(DOUBLE))
    assert relative(found.flatten(), expected.to(torch.complex64)) < 1e-4


def test_l1_wavelet_is_that_of_sigpy() -> None:
    import sigpy.mri as mr

    spokes = noncartesian.golden_angle(9, (16, 16))
    maps = birdcage_maps(COILS, (16, 16), Generator().manual_seed(0))[0]
    y = noncartesian.encoding(maps, spokes).forward(complex_normal(1, 1, 16, 16, rng=Generator().manual_seed(3)))
    observed = noncartesian.observation(y, maps, spokes, 0.01)
    app = mr.app.L1WaveletRecon(
        y[0].numpy(), maps.numpy(), 0.05, coord=spokes, wave_name="haar", max_iter=500, show_pbar=False
    )
    expected = torch.from_numpy(app.run())
    assert relative(observed_methods.l1_wavelet(observed, 0.05, iterations=500, shifts=False)[0, 0], expected) < 0.02


def test_a_simulated_scan_has_the_noise_of_its_measurement_and_more_spokes_help() -> None:
    spec = load_spec("brain_demo")
    small = spec.model_copy(update={"source": spec.source.model_copy(update={"image_size": 32})})
    measurement, truth = open_evaluation(small, "test", limit=1)[0]
    found = {}
    for spokes in (4, 24):
        coordinates = noncartesian.golden_angle(spokes, measurement.image_shape)
        observed = simulated(measurement, truth, coordinates, Generator().manual_seed(0))
        residual = torch.view_as_real(observed.residual(truth))
        assert float(residual.std()) == pytest.approx(float(measurement.noise_std), rel=0.03)
        image = observed_methods.cg_sense(observed, 0.02)
        found[spokes] = psnr(truth[0].abs().numpy(), image[0].abs().numpy())
    assert found[24] > found[4] + 3


def test_plug_and_play_improves_on_where_it_starts() -> None:
    """With an exact denoiser of smooth images; a network is told how much of the grid the spokes are worth."""
    rng, sigma = Generator().manual_seed(2), 0.02
    spokes, cov = noncartesian.golden_angle(3, SHAPE), covariance(SHAPE, 0.95)
    x = (torch.linalg.cholesky(cov) @ complex_normal(99, rng=rng, dtype=DOUBLE)).reshape(1, 1, *SHAPE)
    y = noncartesian.encoding(MAPS, spokes).forward(x.to(torch.complex64))
    observed = noncartesian.observation(y + sigma * complex_normal(*y.shape, rng=rng), MAPS, spokes, sigma)
    found = plug_and_play(GaussianPrior(cov), observed, Sense(MAPS[None]))
    assert relative(found, x) < 0.9 * relative(observed_methods.cg_sense(observed, 0.02), x)
    told = mask_channel(observed.A, found)
    assert told.unique().tolist() == pytest.approx([1 / noncartesian.acceleration(spokes, SHAPE) - 0.5])

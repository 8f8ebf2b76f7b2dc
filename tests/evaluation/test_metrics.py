"""Figures of merit against their definitions; intervals that count patients, not slices."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.ndimage import uniform_filter

from ambient_mri.evaluation.metrics import feature_distance, nmse, patient_bootstrap, psnr, ssim
from ambient_mri.evaluation.results import Gain
from ambient_mri.report.table import gain_sentence

RNG = np.random.default_rng(0)
TRUTH = RNG.random((3, 17, 12)).astype("f4") * np.array([1.0, 2.0, 0.5], "f4")[:, None, None]
IMAGE = TRUTH + 0.1 * RNG.standard_normal(TRUTH.shape).astype("f4")


def test_psnr_and_nmse_follow_their_definitions_over_the_volume() -> None:
    error = np.mean((TRUTH.astype("f8") - IMAGE) ** 2)
    assert psnr(TRUTH, IMAGE) == pytest.approx(10 * np.log10(TRUTH.max() ** 2 / error), abs=1e-4)
    assert nmse(TRUTH, IMAGE) == pytest.approx(error / np.mean(TRUTH.astype("f8") ** 2), rel=1e-4)


def test_ssim_has_the_data_range_of_the_volume() -> None:
    assert ssim(TRUTH, TRUTH) == pytest.approx(1.0)
    # The faint third slice is held to the same range as the bright one: its own range would lower its figure.
    assert ssim(TRUTH, IMAGE) > np.mean([ssim(TRUTH[[i]], IMAGE[[i]]) for i in range(3)])
    window, x, y = 7, TRUTH[0, :7, :7].astype("f8"), IMAGE[0, :7, :7].astype("f8")
    mx, my, n = x.mean(), y.mean(), window**2
    covariance = ((x - mx) * (y - my)).sum() / (n - 1)
    c1, c2 = (0.01 * x.max()) ** 2, (0.03 * x.max()) ** 2
    by_hand = (2 * mx * my + c1) * (2 * covariance + c2)
    by_hand /= (mx**2 + my**2 + c1) * (x.var(ddof=1) + y.var(ddof=1) + c2)
    assert ssim(TRUTH[:1, :7, :7], IMAGE[:1, :7, :7]) == pytest.approx(by_hand, abs=1e-4)


def test_feature_distance_sees_lost_texture_and_not_where_things_lie_nor_in_which_units() -> None:
    rng = np.random.default_rng(0)
    texture = np.abs(1 + 0.3 * rng.standard_normal((2, 32, 32))).astype("f4")
    smooth = np.stack([uniform_filter(one, 3, mode="wrap") for one in texture])
    turned = np.roll(texture, (3, 5), (1, 2))
    assert feature_distance(texture, texture) == 0
    assert feature_distance(texture, smooth) > 0.3
    assert feature_distance(texture, turned) < 0.1 * feature_distance(texture, smooth)
    assert nmse(texture, turned) > nmse(texture, smooth)
    assert feature_distance(1e4 * texture, 1e4 * smooth) == pytest.approx(feature_distance(texture, smooth), rel=1e-3)
    assert 0.7 * np.log(1.1) < feature_distance(texture, 1.1 * texture) < np.log(1.1), "10 % brighter"
    assert feature_distance(np.zeros((1, 16, 16), "f4"), np.zeros((1, 16, 16), "f4")) == 0


def test_intervals_cover_the_true_mean_and_count_patients() -> None:
    patients = [f"p{i}" for i in range(30) for _ in range(5)]
    covered = 0
    for trial in range(100):
        rng = torch.Generator().manual_seed(trial)
        of_patient = torch.randn(30, generator=rng).repeat_interleave(5)
        values = (of_patient + 0.1 * torch.randn(150, generator=rng)).tolist()
        interval = patient_bootstrap(values, patients, rng, resamples=400)
        assert interval.low < interval.mean < interval.high
        covered += interval.low < 0 < interval.high
    assert covered >= 86, "slices of one patient are no independent evidence"


def test_intervals_are_reproducible_and_leave_the_global_state_alone() -> None:
    before = torch.get_rng_state()
    values, patients = [1.0, 2.0, 4.0, 4.0], ["a", "b", "c", "c"]
    one, other = (patient_bootstrap(values, patients, torch.Generator().manual_seed(3)) for _ in range(2))
    assert one == other
    assert one.mean == pytest.approx(7 / 3)
    assert torch.equal(before, torch.get_rng_state())


def test_intervals_of_few_patients_are_wide_enough() -> None:
    trials, caught = 300, 0
    for trial in range(trials):
        rng = torch.Generator().manual_seed(trial)
        interval = patient_bootstrap(torch.randn(8, generator=rng).tolist(), list("abcdefgh"), rng, resamples=1000)
        caught += interval.low < 0 < interval.high
    assert caught / trials > 0.915  # plain percentiles: .87


def test_of_one_patient_nobody_is_ahead() -> None:
    alone = patient_bootstrap([1.5, 2.5], ["a", "a"], torch.Generator().manual_seed(0))
    assert (alone.low, alone.mean, alone.high) == (2.0, 2.0, 2.0)
    said = gain_sentence(Gain(4, "one-step", "tv", alone, alone, alone, alone))
    assert said == "one-step is 2.00 dB ahead of tv (one patient: no interval)"

"""Calibration against the closed form: exact samples are calibrated, shrunk ones by the factor that undoes it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Generator, Tensor

from ambient_mri.errors import InputError
from ambient_mri.evaluation import chi_squared
from ambient_mri.evaluation.coverage import Components, conformal_factor, coverage, held_out_samples, joined, pixels
from ambient_mri.measurement import Measurement
from ambient_mri.operators import Masked, Sense
from tests.closed_form.gaussian import DOUBLE, GaussianPrior, covariance, maps, posterior_matrix
from tests.laws.expectation import check_mean
from tests.laws.operators import complex_normal, dense

SHAPE, NOISE, SAMPLES = (3, 8), 0.05, 8
SHOWN = torch.tensor([1, 0, 0, 1, 1, 1, 0, 0], dtype=torch.bool).reshape(1, 1, 1, 8)
HIDDEN = torch.tensor([0, 1, 0, 0, 0, 0, 0, 1], dtype=torch.bool).reshape(1, 1, 1, 8)
COVARIANCE = covariance(SHAPE, 0.9)
ENCODING = Sense(maps(SHAPE))
Patients = dict[str, Components]


def _patients(count: int, *, spread: float = 1.0, noise_std: float = NOISE, seed: int = 0) -> Patients:
    """Scans of Gaussian images with exact posterior samples in mirrored pairs, their deviations times `spread`."""
    A, rng = Masked(ENCODING, SHOWN), Generator().manual_seed(seed)
    root = torch.linalg.cholesky(COVARIANCE)
    mean_of = posterior_matrix(NOISE, A, COVARIANCE, SHAPE)
    given = COVARIANCE - mean_of @ dense(A, SHAPE, DOUBLE) @ COVARIANCE
    given_root = torch.linalg.cholesky((given + given.mH) / 2 + 1e-12 * torch.eye(len(given)))
    found = {}
    for patient in range(count):
        x = (root @ complex_normal(len(root), rng=rng, dtype=DOUBLE) / 2**0.5).reshape(1, 1, *SHAPE)
        full = ENCODING.forward(x)
        y = full + NOISE * complex_normal(*full.shape, rng=rng, dtype=DOUBLE)
        mean = mean_of @ torch.where(SHOWN, y, 0).flatten()
        away = spread * (given_root @ complex_normal(len(root), SAMPLES // 2, rng=rng, dtype=DOUBLE) / 2**0.5).T
        samples = torch.stack([mean + away, mean - away], 1).reshape(SAMPLES, *SHAPE)
        y = torch.where(SHOWN | HIDDEN, y, torch.nan)
        found[f"p{patient}"] = held_out_samples(samples, y, ENCODING, HIDDEN, noise_std)
    return found


def test_exact_samples_are_calibrated() -> None:
    fitted, fresh = _patients(300), _patients(300, seed=1)
    assert len(fitted["p0"]) == 2 * 2 * 2 * SHAPE[0]  # real and imaginary, coils, lines, rows
    for level in (0.3, 0.5, 0.8, 0.9, 0.95):
        found = coverage(fresh, level, Generator().manual_seed(0))
        assert found.mean == pytest.approx(level, abs=0.015), level
    assert conformal_factor(fitted, 0.9) == pytest.approx(1.0, abs=0.06)


def test_a_shrunk_spread_is_undone() -> None:
    fitted, fresh = _patients(200, spread=0.7), _patients(200, spread=0.7, seed=1)
    factor = conformal_factor(fitted, 0.9)
    assert factor == pytest.approx(1 / 0.7, rel=0.06)
    before, after = (coverage(fresh, 0.9, Generator().manual_seed(0), one).mean for one in (1.0, factor))
    assert before < 0.86
    assert 0.88 < after < 0.92


def test_without_the_noise_of_the_measurement_nothing_is_nominal() -> None:
    blind = _patients(150, noise_std=0.0)
    assert coverage(blind, 0.9, Generator().manual_seed(0)).mean < 0.87
    assert conformal_factor(blind, 0.9) > 1.1


def test_the_guarantee_is_for_patients() -> None:
    """A patient with many samples counts as much as one with few, and so does one who is unlike the others."""
    rng = Generator().manual_seed(3)

    def patient(size: int, times: float) -> Components:
        residual = times * torch.randn(size, generator=rng)
        return Components(residual, torch.ones(size), torch.zeros(size), 1e6)

    patients = {f"p{i}": patient(200, 1.0) for i in range(39)} | {"huge": patient(20_000, 3.0)}
    factor = conformal_factor(patients, 0.9)
    assert factor < 1.3, "by samples the huge patient would decide: about 3"
    found = coverage(patients, 0.9, Generator().manual_seed(0))
    assert found.mean == pytest.approx((39 * 0.9 + 0.417) / 40, abs=0.01)
    few = {f"p{i}": patients[f"p{i}"] for i in range(9)}
    alike = Components(torch.randn(200, generator=rng), torch.ones(200), torch.zeros(200), 1e6)
    assert conformal_factor(few | {"p9": alike}, 0.5) < conformal_factor(few | {"p9": patient(200, 9.0)}, 0.5)


@pytest.mark.parametrize("count", [12, 39])
def test_split_conformal_covers_unseen_patients_on_average(count: int) -> None:
    """Patients of different scatter, few of them: the factor that their plain quantile would give covers less."""
    rng = Generator().manual_seed(0)
    covered = []
    for _ in range(40 if count > 20 else 100):
        scatter = torch.exp(0.5 * torch.randn(count + 1, generator=rng))
        parts = [Components(s * torch.randn(40, generator=rng), torch.ones(40), torch.zeros(40), 1e6) for s in scatter]
        factor = conformal_factor({f"p{i}": part for i, part in enumerate(parts[:-1])}, 0.9)
        covered.append(parts[-1].inside(0.9, factor))
    assert sum(covered) / len(covered) > 0.885


def test_refusals() -> None:
    good = Components(torch.randn(50, generator=Generator().manual_seed(0)), torch.ones(50), torch.zeros(50), 8.0)
    with pytest.raises(InputError, match=r"8 patients cannot bound an interval of 90%: at least 9"):
        conformal_factor({f"p{i}": good for i in range(8)}, 0.9)
    conformal_factor({f"p{i}": good for i in range(9)}, 0.9)
    with pytest.raises(InputError, match="the noise alone covers"):
        conformal_factor({f"p{i}": replace(good, noise_std=torch.full((50,), 9.0)) for i in range(20)}, 0.9)
    with pytest.raises(InputError, match="samples agree where they are wrong"):
        conformal_factor({f"p{i}": replace(good, spread=torch.full((50,), 1e-6)) for i in range(20)}, 0.9)
    with pytest.raises(InputError, match="one sample has no spread"):
        held_out_samples(torch.zeros(1, *SHAPE), torch.zeros(1, 2, *SHAPE), ENCODING, HIDDEN, NOISE)


def test_what_was_not_measured_is_not_read() -> None:
    for components in _patients(2).values():
        assert bool(components.residual.isfinite().all())


def test_pixels_with_tissue() -> None:
    truth = torch.tensor([[0.0, 1.0], [2.0, 0.1]])
    found = pixels(truth + 0.5, torch.full((2, 2), 0.3), truth, samples=8)
    assert found.residual.tolist() == [-0.5, -0.5]
    assert found.freedom == 4
    assert len(joined([found, found])) == 4


def test_chi_squared_of_held_out_measurements() -> None:
    parts = list(_patients(150).values())
    reduced = torch.tensor([chi_squared.held_out(part).reduced for part in parts])
    check_mean(reduced, 1.0)
    shrunk = torch.tensor([chi_squared.held_out(part).reduced for part in _patients(150, spread=0.5).values()])
    assert float(shrunk.mean()) > 1.5
    mended = torch.tensor([chi_squared.held_out(part, 2.0).reduced for part in _patients(150, spread=0.5).values()])
    check_mean(mended, 1.0)
    with pytest.raises(InputError, match="--samples 4"):
        chi_squared.held_out(replace(parts[0], freedom=2.0))


def _measured(count: int = 100) -> Measurement:
    rng = Generator().manual_seed(5)
    root = torch.linalg.cholesky(COVARIANCE)
    x = (complex_normal(count, len(root), rng=rng, dtype=DOUBLE) / 2**0.5 @ root.T).reshape(count, 1, *SHAPE)
    full = ENCODING.forward(x)
    y = full + NOISE * complex_normal(*full.shape, rng=rng, dtype=DOUBLE)
    return Measurement(
        torch.where(SHOWN, y, torch.nan).to(torch.complex64), SHOWN.expand(count, -1, -1, -1),
        ENCODING.maps.to(torch.complex64).expand(count, -1, -1, -1), torch.full((count,), NOISE), torch.ones(count),
        "kspace", tuple(f"s/{i}" for i in range(count)),
    )  # fmt: skip


def test_chi_squared_of_the_fit_is_one_for_the_posterior_mean() -> None:
    prior = GaussianPrior(COVARIANCE)

    def reconstruct(measurement: Measurement) -> Tensor:
        return prior.denoise(measurement.adjoint(), measurement.noise_std, measurement.operator())

    def zero(measurement: Measurement) -> Tensor:
        return 0 * measurement.adjoint()

    scans = _measured()
    rngs = [Generator().manual_seed(i) for i in range(len(scans))]
    found = chi_squared.of_fit(reconstruct, scans, rngs)
    count = 2 * 2 * 4 * SHAPE[0]
    assert 0 < sum(one.freedom for one in found) / len(found) < 0.8 * count
    check_mean(torch.tensor([one.value for one in found]) - torch.tensor([one.freedom for one in found]), 0.0)
    assert chi_squared.of_fit(zero, scans, rngs)[0].freedom == count
    assert min(one.reduced for one in chi_squared.of_fit(zero, scans, rngs)) > 2
    with pytest.raises(InputError, match="without noise"):
        chi_squared.of_fit(reconstruct, replace(scans, noise_std=torch.zeros(len(scans))), rngs)

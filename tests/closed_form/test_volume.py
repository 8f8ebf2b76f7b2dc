"""Operators that mix the slices of a volume: linear, solved for all slices together, and samplers stay exact."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sigpy as sp
import torch
from torch import Generator, Tensor

from ambient_mri.errors import InputError
from ambient_mri.operators import Masked, SigpyEncoding, from_sigpy
from ambient_mri.sampling.annealing import schedule
from ambient_mri.sampling.dds import dds
from ambient_mri.sampling.ensemble import Sampler, ensemble
from ambient_mri.sampling.mmps import mmps
from ambient_mri.sampling.observation import Observation
from ambient_mri.solvers import Resolvent, conjugate_gradients
from tests.closed_form.gaussian import DOUBLE
from tests.closed_form.posterior import smooth
from tests.laws.operators import check_linear_operator, complex_normal, relative

VOLUME, COILS, SIGMA = (3, 2, 4), 2, 0.1


def _maps() -> Tensor:
    maps = complex_normal(COILS, *VOLUME, rng=Generator().manual_seed(0))
    return maps / maps.abs().square().sum(0).sqrt()


def _three_dimensional() -> Any:
    """Points of the plane (z, y) of phase encodes missing."""
    shown = torch.rand(*VOLUME[:2], 1, generator=Generator().manual_seed(1)) < 0.6
    fourier = sp.linop.FFT((COILS, *VOLUME), axes=(-3, -2, -1))
    return sp.linop.Multiply((COILS, *VOLUME), shown.numpy()) * fourier * sp.linop.Multiply(VOLUME, _maps().numpy())


def _simultaneous() -> Any:
    """All slices at once."""
    fourier = sp.linop.FFT((COILS, *VOLUME), axes=(-2, -1)) * sp.linop.Multiply(VOLUME, _maps().numpy())
    return sp.linop.Sum((COILS, *VOLUME), axes=(1,)) * fourier


LINOPS: dict[str, Callable[[], Any]] = {"3-D": _three_dimensional, "simultaneous slices": _simultaneous}


@pytest.fixture(params=LINOPS)
def encoding(request: pytest.FixtureRequest) -> SigpyEncoding:
    return from_sigpy(LINOPS[request.param]())


def _matrix(encoding: SigpyEncoding) -> Tensor:
    """`(measurements, z·y·x)`."""
    size = VOLUME[0] * VOLUME[1] * VOLUME[2]
    basis = torch.eye(size, dtype=torch.complex64).reshape(size, VOLUME[0], 1, *VOLUME[1:])
    return torch.stack([encoding.forward(volume).flatten() for volume in basis], 1).to(DOUBLE)


def _observe(encoding: SigpyEncoding, x: Tensor) -> Observation:
    y = encoding.forward(x)
    noise = SIGMA * complex_normal(*y.shape, rng=Generator().manual_seed(5))
    everything = Masked(encoding, torch.ones(1, 1, 1, 1, dtype=torch.bool))
    return Observation(everything, y + noise, torch.tensor([SIGMA]), VOLUME[1:])


def test_slices_are_the_batch(encoding: SigpyEncoding) -> None:
    x = complex_normal(VOLUME[0], 1, *VOLUME[1:], rng=Generator().manual_seed(2))
    check_linear_operator(encoding, x, torch.ones_like(encoding.forward(x)))
    assert encoding.forward(x).ndim == 4
    assert encoding.slices == VOLUME[0]
    assert encoding.norm == pytest.approx(float(torch.linalg.matrix_norm(_matrix(encoding), 2)), rel=0.03)


def test_all_slices_are_solved_for_together(encoding: SigpyEncoding) -> None:
    """Slice by slice, as batches are solved otherwise, conjugate gradients would not converge to this."""
    b = complex_normal(VOLUME[0], 1, *VOLUME[1:], rng=Generator().manual_seed(3))
    A, matrix, lam = Masked(encoding, torch.ones(1, 1, 1, 1, dtype=torch.bool)), _matrix(encoding), 0.05
    shifted = matrix.mH @ matrix + lam * torch.eye(matrix.shape[1], dtype=DOUBLE)
    expected = torch.linalg.solve(shifted, b.flatten().to(DOUBLE)).to(torch.complex64)
    assert relative(conjugate_gradients(A, b, torch.tensor(lam)).flatten(), expected) < 1e-4
    inside = Resolvent(A, torch.full((VOLUME[0], 1, 1, 1), lam))(b)
    assert relative(inside.flatten(), expected) < 3e-2


@pytest.mark.parametrize(("sampler", "kind"), [(mmps, "simultaneous slices"), (dds, "3-D")])
def test_samples_of_a_volume(sampler: Sampler, kind: str) -> None:
    """Each slice a Gaussian with an exact prior; the posterior of all together is known."""
    encoding = from_sigpy(LINOPS[kind]())
    prior, matrix = smooth(VOLUME[1:]), _matrix(encoding)
    covariance = torch.block_diag(*[prior.covariances[0]] * VOLUME[0])
    x = prior.draw(VOLUME[0], Generator().manual_seed(4)).reshape(VOLUME[0], 1, *VOLUME[1:]).to(torch.complex64)
    observed = _observe(encoding, x)
    gain = covariance @ matrix.mH @ torch.linalg.inv(
        matrix @ covariance @ matrix.mH + 2 * SIGMA**2 * torch.eye(len(matrix), dtype=DOUBLE)
    )  # fmt: skip
    mean, left = gain @ observed.y.flatten().to(DOUBLE), covariance - gain @ matrix @ covariance
    levels = schedule(40, SIGMA / 4, corrections=1 if sampler is mmps else 10)
    drawn = ensemble(sampler, prior, observed, ["a", "b", "c"], levels, samples=12)
    found = drawn.samples.transpose(0, 1).flatten(1).to(DOUBLE)
    scale = float(covariance.trace().real) ** 0.5
    assert float((found.mean(0) - mean).norm()) / scale < 0.05
    trace = float((found - mean).abs().square().mean(0).sum())
    assert trace / float(left.trace().real) == pytest.approx(1, abs=0.25)


def test_one_volume_at_a_time(encoding: SigpyEncoding) -> None:
    observed = _observe(encoding, complex_normal(VOLUME[0], 1, *VOLUME[1:], rng=Generator().manual_seed(2)))
    with pytest.raises(InputError, match="2 volumes at once"):
        Observation(observed.A, observed.y.repeat(2, 1, 1, 1), torch.full((2,), SIGMA), VOLUME[1:])
    with pytest.raises(InputError, match="image \\(y, x\\) or a volume"):
        from_sigpy(sp.linop.Identity((2, 3, 4, 5)))

"""The one Fourier transform: fftshift order, orthonormal, for any mixture of odd and even sizes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ambient_mri.fourier import fft1c, fft2c, ifft1c, ifft2c
from tests.laws.operators import complex_normal, inner, relative

SIZES = [(17, 11), (16, 12), (6, 10), (17, 12), (8, 11), (1, 7), (2, 1)]


def _numpy(x: torch.Tensor, axes: tuple[int, ...], inverse: bool) -> torch.Tensor:
    """The textbook definition."""
    transform = np.fft.ifftn if inverse else np.fft.fftn
    value = np.fft.fftshift(transform(np.fft.ifftshift(x.numpy(), axes), axes=axes, norm="ortho"), axes)
    return torch.tensor(value)


@pytest.mark.parametrize("shape", SIZES)
def test_equals_the_textbook(shape: tuple[int, int]) -> None:
    x = complex_normal(2, 3, *shape, rng=torch.Generator().manual_seed(0), dtype=torch.complex128)
    for ours, axes, inverse in ((fft2c, (-2, -1), 0), (ifft2c, (-2, -1), 1), (fft1c, (-1,), 0), (ifft1c, (-1,), 1)):
        assert relative(ours(x), _numpy(x, axes, bool(inverse))) < 1e-12


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**31))
def test_unitary(rows: int, columns: int, seed: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    x, y = (complex_normal(1, 2, rows, columns, rng=rng, dtype=torch.complex128) for _ in range(2))
    for forward, inverse in ((fft2c, ifft2c), (fft1c, ifft1c)):
        assert relative(inverse(forward(x)), x) < 1e-12
        assert abs(inner(forward(x), y) - inner(x, inverse(y))) < 1e-10


@pytest.mark.parametrize("shape", SIZES)
def test_the_centre_is_index_n_over_2_in_both_domains(shape: tuple[int, int]) -> None:
    centre = shape[0] // 2, shape[1] // 2
    flat = torch.ones(shape, dtype=torch.complex64)
    peak = torch.zeros(shape, dtype=torch.complex64)
    peak[centre] = flat.numel() ** 0.5
    assert torch.allclose(fft2c(flat), peak, atol=1e-5)
    assert torch.allclose(fft2c(peak), flat, atol=1e-5)  # no phase ramp


def test_the_two_axes_are_separable() -> None:
    x = complex_normal(1, 1, 17, 12, rng=torch.Generator().manual_seed(1))
    assert relative(fft1c(fft1c(x).mT).mT, fft2c(x)) < 1e-5


def test_noise_has_one_level_in_both_domains() -> None:
    noise = complex_normal(4, 1, 64, 64, rng=torch.Generator().manual_seed(2))
    assert abs(float(fft2c(noise).real.std()) - 1) < 0.03


@pytest.mark.parametrize("shape", [(4, 6), (5, 6)])
def test_training_works_after_an_evaluation_in_inference_mode(shape: tuple[int, int]) -> None:
    sizes = (shape[0] + 200, shape[1] + 200)  # not cached by another test
    with torch.inference_mode():
        fft2c(torch.ones(sizes, dtype=torch.complex64))
    x = torch.ones(sizes, dtype=torch.complex64, requires_grad=True)
    fft2c(x).abs().square().sum().backward()
    assert torch.allclose(x.grad, 2 * x, atol=1e-4)  # type: ignore[arg-type]

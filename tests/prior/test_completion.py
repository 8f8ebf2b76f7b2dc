"""A prediction becomes the mean of a Gaussian field, with its derivatives, from wherever the iteration begins."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest
import torch
from torch import Tensor

from ambient_mri.measurement import DATA_STD
from ambient_mri.operators import Identity, Masked, Sense
from ambient_mri.patterns import Pixels, RandomLines, RandomPoints
from ambient_mri.prior import completion
from ambient_mri.prior.completion import Precision, completed, gradients
from ambient_mri.prior.network import Cascade
from ambient_mri.prior.preconditioning import LAMBDA_FLOOR, AmbientPrior
from ambient_mri.randomness import stream, white
from ambient_mri.solvers import conjugate_gradients

MASKS = {"lines": RandomLines(2, 0.2), "points": RandomPoints(2, 0.2), "pixels": Pixels(0.5)}
PATTERNS = pytest.mark.parametrize("pattern", MASKS)
"""Of k-space by coils; `pixels`: of the image itself."""
Complete = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def _scan(pattern: str, rng: torch.Generator, shape: tuple[int, int] = (8, 6), coils: int = 3) -> Masked:
    maps = white((1, coils, *shape), rng)
    maps = maps / maps.abs().square().sum(1, keepdim=True).sqrt()
    return Masked(Identity() if pattern == "pixels" else Sense(maps), MASKS[pattern].draw(shape, rng)[None, None])


def _precision(A: Masked, rng: torch.Generator, lam: float = 0.01) -> Precision:
    variance = torch.rand(1, 2, 8, 6, generator=rng) * 4
    return Precision.of(A, torch.full((1, 1, 1, 1), lam), variance, torch.rand(1, 4, 8, 6, generator=rng) * 3)


def _to_the_end(monkeypatch: pytest.MonkeyPatch, tolerance: float = 1e-7) -> None:
    monkeypatch.setattr(completion, "TOLERANCE", tolerance)
    monkeypatch.setattr(completion, "ITERATIONS", 500)


def _real(x: Tensor) -> Tensor:
    return torch.stack([x.real, x.imag]).flatten().double()


def _matrix(linear: Callable[[Tensor], Tensor], shape: tuple[int, int] = (8, 6)) -> Tensor:
    """Of a real-linear map from images: columns for the real parts of all pixels, then for the imaginary ones."""
    units = torch.eye(shape[0] * shape[1], dtype=torch.complex64).reshape(-1, 1, 1, *shape)
    return torch.stack([_real(linear(part * unit)) for part in (1, 1j) for unit in units], 1)


@PATTERNS
def test_a_guess_becomes_the_posterior_mean_of_a_gaussian(pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """F + C Aᵀ (A C Aᵀ + σ² I)⁻¹ (y - A F) by matrices, C = σ² P⁻¹, with neighbours that err alike."""
    _to_the_end(monkeypatch)
    rng = stream(0, "test")
    A, sigma = _scan(pattern, rng), 0.1
    precision = _precision(A, rng)
    y, guess, begin = A.forward(white((1, 1, 8, 6), rng)), white((1, 1, 8, 6), rng), white((1, 1, 8, 6), rng)
    answer = completed(A, A.adjoint(y), guess, precision, begin)
    matrix, covariance = _matrix(A.forward), sigma**2 * torch.linalg.inv(_matrix(precision))
    noise, before = sigma**2 * torch.eye(len(matrix), dtype=torch.float64), _real(guess)
    gain = covariance @ matrix.T @ torch.linalg.inv(matrix @ covariance @ matrix.T + noise)
    torch.testing.assert_close(_real(answer), before + gain @ (_real(y) - matrix @ before), atol=1e-4, rtol=1e-3)


@PATTERNS
def test_precision_is_that_of_pixels_and_of_differences(pattern: str) -> None:
    """Along x where whole lines are measured; along y too where points are."""
    rng = stream(0, "test")
    A, x, lam = _scan(pattern, rng), white((1, 1, 8, 6), rng), torch.full((1, 1, 1, 1), 0.3)
    variance, likeness = torch.rand(1, 2, 8, 6, generator=rng) + 0.1, torch.rand(1, 4, 8, 6, generator=rng)
    precision, parts = Precision.of(A, lam, variance, likeness), torch.cat([x.real, x.imag], 1)
    energy = (0.3 / variance * parts**2).sum()
    for dim, alike in list(zip((3, 2), likeness.chunk(2, 1), strict=True))[: 1 if pattern == "lines" else 2]:
        inner = [of.narrow(dim, 0, of.shape[dim] - 1) for of in (variance, alike)]
        following = variance.narrow(dim, 1, variance.shape[dim] - 1)
        energy = energy + (0.3 / (inner[0] * following).sqrt() * inner[1] * parts.diff(dim=dim) ** 2).sum()
    torch.testing.assert_close((x.conj() * precision(x)).real.sum(), energy)
    matrix = _matrix(precision)
    torch.testing.assert_close(matrix.diagonal(), precision.diagonal().flatten().double())
    torch.testing.assert_close(matrix, matrix.T)
    assert torch.linalg.eigvalsh(matrix)[0] > 0


def test_errors_that_are_alike_are_explained_together() -> None:
    """Half of k-space of one coil says nothing of a pixel, and a stiff row moves as one."""
    rng = stream(0, "test")
    A = _scan("lines", rng, (4, 16), coils=1)
    guess = torch.zeros(1, 1, 4, 16, dtype=torch.complex64)
    seen = A.normal(torch.ones(1, 1, 4, 16, dtype=torch.complex64) * A.encoding.maps.conj())  # type: ignore[union-attr]
    one = torch.full((1, 1, 1, 1), 0.01)
    roughness = []
    for likeness in (1e-3, 20.0):
        of = Precision.of(A, one, torch.ones(1, 2, 4, 16), torch.full((1, 4, 4, 16), likeness))
        answer = completed(A, seen, guess, of, guess)
        roughness.append(float(answer.diff(dim=-1).abs().square().mean() / answer.abs().square().mean()))
    assert roughness[1] < 0.7 * roughness[0]


class _Guess(torch.nn.Module):
    """A network that always says the same."""

    def __init__(self, guess: Tensor, variance: Tensor, likeness: Tensor) -> None:
        super().__init__()
        self.said = guess, variance, likeness

    def forward(self, start: Tensor, mask: Tensor, steps: Tensor, complete: Complete, *_: object) -> Tensor:
        return complete(*self.said, start)


def test_a_prior_completes_with_the_variance_that_its_network_gives() -> None:
    """Pixels: the mean of two Gaussians, what was measured with noise σ² and F with variance σ_d² v, part by part."""
    rng, shape = stream(0, "test"), (2, 1, 5, 6)
    A = Masked(Identity(), torch.rand(shape, generator=rng) < 0.5)
    y, guess = A.forward(white(shape, rng)), white(shape, rng)
    variance, sigma = torch.rand(2, 2, 5, 6, generator=rng) * 4 + 0.01, torch.tensor([0.1, 0.7])
    network = _Guess(guess, variance, torch.zeros(2, 4, 5, 6))
    image = AmbientPrior(cast(Cascade, network)).denoise(y, sigma, A)
    for k, part in enumerate((torch.real, torch.imag)):
        measured, expected = A.mask / sigma.square().reshape(2, 1, 1, 1), 1 / (DATA_STD**2 * variance[:, k : k + 1])
        mean = (measured * part(y) + expected * DATA_STD * part(guess)) / (measured + expected)
        torch.testing.assert_close(part(image), mean)


@PATTERNS
def test_a_prior_completes_with_the_likeness_that_its_network_gives(
    pattern: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _to_the_end(monkeypatch)
    rng = stream(0, "test")
    A, guess = _scan(pattern, rng), white((1, 1, 8, 6), rng)
    y, sigma = A.forward(white((1, 1, 8, 6), rng)), torch.tensor([0.1])
    variance, likeness = torch.rand(1, 2, 8, 6, generator=rng) + 0.1, 5 * torch.rand(1, 4, 8, 6, generator=rng)
    image = AmbientPrior(cast(Cascade, _Guess(guess, variance, likeness))).denoise(A.adjoint(y), sigma, A)
    P = Precision.of(A, (sigma / DATA_STD).square().clamp_min(LAMBDA_FLOOR).reshape(1, 1, 1, 1), variance, likeness)
    left = A.adjoint(y) + P(DATA_STD * guess) - A.normal(image) - P(image)
    assert float(left.norm()) < 1e-4 * float(A.adjoint(y).norm())


@PATTERNS
def test_completion_has_its_derivatives(pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _to_the_end(monkeypatch, 1e-11)
    rng, shape = stream(0, "test"), (4, 6)
    A = _scan(pattern, rng, shape, coils=2)
    if isinstance(A.encoding, Sense):
        A = Masked(Sense(A.encoding.maps.to(torch.complex128)), A.mask)
    x_in, guess, begin = (white((1, 1, *shape), rng).to(torch.complex128) for _ in range(3))
    variance, likeness = ((torch.rand(1, n, *shape, generator=rng) + 0.1).double().requires_grad_() for n in (2, 4))
    lam = torch.full((1, 1, 1, 1), 0.1, dtype=torch.float64)

    def image(guess: Tensor, variance: Tensor, likeness: Tensor) -> Tensor:
        return completed(A, x_in, guess, Precision.of(A, lam, variance, likeness), begin)

    assert torch.autograd.gradcheck(image, (guess.requires_grad_(), variance, likeness), fast_mode=True)


@PATTERNS
def test_an_iteration_goes_on_from_where_it_begins(pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completion, "ITERATIONS", 2 if pattern == "pixels" else 3)  # what mixes less converges sooner
    rng = stream(0, "test")
    A, zeros = _scan(pattern, rng), torch.zeros(1, 1, 8, 6, dtype=torch.complex64)
    precision = _precision(A, rng, 0.05)
    b = white((1, 1, 8, 6), rng)
    x = gradients(A, b, precision, 1e-6, 500)
    torch.testing.assert_close(A.normal(x) + precision(x), b, atol=1e-4, rtol=1e-4)
    errors = [(completed(A, b, zeros, precision, begin) - x).norm() for begin in (zeros, x)]
    assert float(errors[0]) > 0.05 * float(x.norm())
    assert float(errors[1]) < 1e-4 * float(x.norm())


@PATTERNS
def test_without_likeness_and_variance_it_is_the_resolvent(pattern: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _to_the_end(monkeypatch)
    rng = stream(0, "test")
    A, lam, zeros = _scan(pattern, rng), torch.full((1, 1, 1, 1), 0.05), torch.zeros(1, 4, 8, 6)
    b = A.normal(white((1, 1, 8, 6), rng))
    answer = completed(
        A, b, torch.zeros_like(b), Precision.of(A, lam, torch.ones(1, 2, 8, 6), zeros), torch.zeros_like(b)
    )
    torch.testing.assert_close(answer, conjugate_gradients(A, b, lam), atol=1e-4, rtol=1e-3)


def test_lines_and_points_in_one_batch_are_completed_as_alone() -> None:
    """Rows of lines are systems of their own also where the batch has a mask for all."""
    rng = stream(0, "test")
    alone = [_scan(pattern, rng) for pattern in ("points", "lines", "points", "lines")]
    maps = torch.cat([A.encoding.maps for A in alone])  # type: ignore[union-attr]
    A = Masked(Sense(maps), torch.cat([A.mask.expand(-1, -1, 8, -1) for A in alone]))
    x_in, sigma = A.normal(white((4, 1, 8, 6), rng)), torch.tensor([0.1, 0.2, 0.3, 0.4])
    said = white((4, 1, 8, 6), rng), torch.rand(4, 2, 8, 6, generator=rng) + 0.1, torch.rand(4, 4, 8, 6, generator=rng)
    together = AmbientPrior(cast(Cascade, _Guess(*said))).denoise(x_in, sigma, A)
    for k, A in enumerate(alone):
        one = slice(k, k + 1)
        prior = AmbientPrior(cast(Cascade, _Guess(*(of[one] for of in said))))
        torch.testing.assert_close(together[one], prior.denoise(x_in[one], sigma[one], A))


def test_a_missing_pixel_follows_its_neighbours() -> None:
    """A guess of nothing, and errors that are alike: what is missing is what surrounds it, by no network."""
    mask = torch.ones(1, 1, 5, 5, dtype=torch.bool)
    mask[..., 2, 2] = False
    A, nothing = Masked(Identity(), mask), torch.zeros(1, 1, 5, 5, dtype=torch.complex64)
    lam, ones = torch.full((1, 1, 1, 1), 0.01), torch.ones(1, 2, 5, 5)
    seen = A.normal(nothing + 1)
    for likeness, low, high in ((1e-9, 0, 1e-6), (20.0, 0.9, 1)):
        precision = Precision.of(A, lam, ones, torch.full((1, 4, 5, 5), likeness))
        assert low <= float(completed(A, seen, nothing, precision, nothing)[0, 0, 2, 2].real) <= high

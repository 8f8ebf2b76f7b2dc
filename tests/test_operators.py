"""Operators: the laws at odd and non-square sizes, masks that cannot leak NaN, and the bridge to sigpy."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Generator, Tensor

from ambient_mri import operators
from ambient_mri.fourier import fft2c
from ambient_mri.operators import (
    Coils,
    Compose,
    Encoding,
    Fourier,
    Gaussian,
    Identity,
    LinearOperator,
    Mask,
    Masked,
    Sense,
    from_sigpy,
    keep,
    to_sigpy,
)
from tests.laws.operators import check_linear_operator, complex_normal, dense, inner, largest_singular_value, relative
from tests.laws.reproducibility import check_global_state_untouched

SHAPES = [(17, 11), (12, 10), (8, 13)]
Shape = tuple[int, int]


def _rng(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def _maps(shape: Shape, coils: int = 3, scans: int = 1) -> Tensor:
    maps = complex_normal(scans, coils, *shape, rng=_rng(7))
    return maps / maps.abs().square().sum(1, keepdim=True).sqrt()


def _lines(shape: Shape, scans: int = 1) -> Tensor:
    return torch.rand(scans, 1, 1, shape[1], generator=_rng(3)) < 0.5


def _points(shape: Shape, scans: int = 1) -> Tensor:
    return torch.rand(scans, 1, *shape, generator=_rng(4)) < 0.5


def _radial(shape: Shape, coils: int = 0) -> operators.SigpyEncoding:
    """A radial NUFFT, with sensitivity maps where `coils`."""
    import sigpy as sp

    angle = np.pi * np.arange(9)[:, None] / 9
    radius = np.linspace(-0.5, 0.5, 2 * max(shape), endpoint=False)[None]
    coordinates = np.stack([radius * shape[0] * np.sin(angle), radius * shape[1] * np.cos(angle)], -1)
    if not coils:
        return from_sigpy(sp.linop.NUFFT(shape, coordinates))
    images = sp.linop.Multiply(shape, _maps(shape, coils)[0].numpy())
    return from_sigpy(sp.linop.NUFFT((coils, *shape), coordinates) * images)


OPERATORS: dict[str, Callable[[Shape], LinearOperator]] = {
    "pixels": lambda s: Masked(Identity(), _points(s, 2)),
    "fourier": lambda s: Fourier(),
    "one coil, lines": lambda s: Masked(Fourier(), _lines(s, 2)),
    "one coil, points": lambda s: Masked(Fourier(), _points(s)),
    "coils": lambda s: Coils(_maps(s)),
    "sense": lambda s: Sense(_maps(s, scans=2)),
    "sense, lines": lambda s: Masked(Sense(_maps(s)), _lines(s, 2)),
    "sense, points": lambda s: Masked(Sense(_maps(s)), _points(s, 2)),
    "sense, nothing": lambda s: Masked(Sense(_maps(s)), torch.zeros(1, 1, 1, s[1], dtype=torch.bool)),
    "gaussian": lambda s: Gaussian.draw(31, s, _rng()),
    "gaussian, masked": lambda s: Masked(Gaussian.draw(31, s, _rng()), _lines((1, 31), 2)),
    "D of A": lambda s: Compose(Mask(_points(s)), Masked(Sense(_maps(s)), _lines(s))),
    "sigpy nufft": lambda s: _radial(s),
    "sigpy nufft, coils": lambda s: _radial(s, coils=2),
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", OPERATORS)
def test_laws(name: str, shape: Shape) -> None:
    operator = OPERATORS[name](shape)
    image = complex_normal(2, 1, *shape, rng=_rng(1))
    measurement = complex_normal(*operator.forward(image).shape, rng=_rng(2))
    check_linear_operator(operator, image, measurement)


ISOMETRIES: dict[str, Callable[[Shape], Encoding]] = {
    "pixels": lambda s: Identity(), "fourier": lambda s: Fourier(), "sense": lambda s: Sense(_maps(s)),
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ISOMETRIES)
def test_encodings_are_isometries_of_norm_one(name: str, shape: Shape) -> None:
    encoding = ISOMETRIES[name](shape)
    x = complex_normal(1, 1, *shape, rng=_rng())
    assert relative(encoding.adjoint(encoding.forward(x)), x) < 1e-6
    assert encoding.norm == 1
    assert largest_singular_value(encoding, shape) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("make", [lambda s: Gaussian.draw(20, s, _rng()), lambda s: _radial(s)])
def test_the_norm_of_other_encodings_bounds_them_closely(make: Callable[[Shape], Encoding]) -> None:
    encoding = make((9, 7))
    assert 0.999 < encoding.norm / largest_singular_value(encoding, (9, 7)) < 1.02


def test_maps_with_a_support_make_a_projector_there() -> None:
    maps = _maps((8, 9)) * (torch.arange(9) < 5)
    x = complex_normal(1, 1, 8, 9, rng=_rng())
    assert torch.allclose(Sense(maps).normal(x), x * (torch.arange(9) < 5), atol=1e-6)
    assert largest_singular_value(Sense(maps), (8, 9)) == pytest.approx(1, abs=1e-5)


def test_fourier_order_is_fftshift() -> None:
    """k-space column x//2 is the mean along the phase-encode axis."""
    x = complex_normal(1, 1, 17, 11, rng=_rng())
    only_centre = torch.zeros(1, 1, 1, 11, dtype=torch.bool)
    only_centre[..., 11 // 2] = True
    assert torch.allclose(Masked(Fourier(), only_centre).normal(x), x.mean(-1, keepdim=True).expand_as(x), atol=1e-6)


@pytest.mark.parametrize("encoding", [Fourier(), Sense(_maps((17, 11)))], ids=["one coil", "coils"])
@pytest.mark.parametrize("real_weight", [False, True])
def test_line_masks_take_the_one_dimensional_path_and_equal_the_two_dimensional(
    encoding: Encoding, real_weight: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = (17, 11)
    x, lines = complex_normal(2, 1, *shape, rng=_rng()), _lines(shape, 2)
    weight = lines * torch.rand(2, 1, 1, 11, generator=_rng(5)) if real_weight else lines
    slow = encoding.masked_normal(x, weight.expand(-1, -1, *shape))
    assert relative(encoding.adjoint(weight * encoding.forward(x)), slow) < 1e-6

    def refuse(_: Tensor) -> Tensor:
        raise AssertionError("a line mask went through a two-dimensional transform")

    def along_lines(transform: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def checked(x: Tensor, dim: tuple[int, ...], **norm: str) -> Tensor:
            return transform(x, dim=dim, **norm) if dim == (-1,) else refuse(x)

        return checked

    for name in ("fftn", "ifftn"):
        monkeypatch.setattr(torch.fft, name, along_lines(getattr(torch.fft, name)))
    for name in ("fft2", "ifft2"):
        monkeypatch.setattr(torch.fft, name, refuse)
    assert relative(encoding.masked_normal(x, weight), slow) < 1e-6
    with pytest.raises(AssertionError, match="two-dimensional"):
        encoding.masked_normal(x, weight.expand(-1, -1, *shape))


@pytest.mark.parametrize("shape", [(16, 12), (16, 13), (17, 12), (17, 11)])
@pytest.mark.parametrize("lines", [True, False], ids=["lines", "points"])
@pytest.mark.parametrize("one_set_of_maps", [True, False])
@pytest.mark.parametrize("piece", [1, 40, 600, 10**6])
def test_the_normal_operator_in_pieces_equals_adjoint_of_forward(
    shape: Shape, lines: bool, one_set_of_maps: bool, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operators.pieces, "__kwdefaults__", {"size": piece})
    mask = (_lines if lines else _points)(shape, 3)
    A = Masked(Sense(_maps(shape, scans=1 if one_set_of_maps else 3)), mask)
    x = complex_normal(3, 1, *shape, rng=_rng(1))
    slow = A.adjoint(A.forward(x))
    assert relative(A.normal(x), slow) < 1e-6
    tracked = x.clone().requires_grad_()
    whole = A.normal(tracked)
    assert relative(whole.detach(), slow) < 1e-6
    (pulled,) = torch.autograd.grad(whole, tracked, x)  # AᴴA is its own adjoint
    assert relative(pulled, slow) < 1e-6


def test_pieces_cover_everything_once() -> None:
    for shape in [(5, 3, 16, 12), (1, 8, 64, 48), (3, 2, 4, 4)]:
        for by_lines in (True, False):
            for size in (1, 100, 1000, 10**6):
                seen = torch.zeros(shape)
                for b, c, y in operators.pieces(shape, by_lines=by_lines, size=size):
                    assert not by_lines or seen[b, :, y].shape[1] == seen[b, c, y].shape[1]
                    seen[b, c, y] += 1
                assert (seen == 1).all()


@pytest.mark.parametrize("mask", [_lines((17, 11)), _points((17, 11))], ids=["lines", "points"])
def test_nan_where_nothing_was_measured_cannot_leak(mask: Tensor) -> None:
    A = Masked(Sense(_maps((17, 11))), mask)
    y = complex_normal(1, 3, 17, 11, rng=_rng())
    poisoned = torch.where(mask, y, torch.nan).requires_grad_()
    assert torch.equal(A.adjoint(poisoned), A.adjoint(y))
    A.adjoint(poisoned).abs().square().sum().backward()
    assert poisoned.grad is not None
    assert torch.isfinite(torch.view_as_real(poisoned.grad)).all()
    assert torch.equal(Mask(mask).forward(poisoned), keep(mask, y))
    assert not torch.view_as_real(keep(mask, poisoned)).isnan().any()


def test_show_measures_only_what_both_measured() -> None:
    a, d = _lines((17, 11)), torch.rand(1, 1, 1, 11, generator=_rng(9)) < 0.5
    A = Masked(Fourier(), a)
    x = complex_normal(1, 1, 17, 11, rng=_rng())
    assert torch.equal(A.show(d).mask, a & d)
    assert torch.equal(A.show(d).forward(x), Mask(d).forward(A.forward(x)))
    assert torch.equal(A.mask, a)  # immutable


def test_gaussian_rows_have_variance_one_over_m() -> None:
    shape = (17, 11)
    operator = Gaussian.draw(400, shape, _rng())
    assert operator.forward(torch.ones(2, 1, *shape, dtype=torch.complex64)).shape == (2, 1, 1, 400)
    assert float(operator.matrix.square().mean() * 400) == pytest.approx(1, abs=0.02)
    assert torch.equal(operator.matrix, Gaussian.draw(400, shape, _rng()).matrix)
    x = complex_normal(1, 1, *shape, rng=_rng(1))  # E[GᵀG] = I
    assert float(operator.forward(x).norm() / x.norm()) == pytest.approx(1, abs=0.15)


@pytest.mark.parametrize("name", ["sense, lines", "one coil, points", "gaussian", "D of A", "sigpy nufft"])
def test_to_sigpy_obeys_sigpy(name: str) -> None:
    shape = (9, 7)
    operator = OPERATORS[name](shape)
    if isinstance(operator, Masked):
        operator = Masked(operator.encoding, operator.mask[:1])
    linop = to_sigpy(operator, shape)
    matrix = dense(operator, shape)
    assert tuple(linop.ishape) == shape
    rng = np.random.default_rng(0)
    x = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype("c8")
    y = (rng.standard_normal(linop.oshape) + 1j * rng.standard_normal(linop.oshape)).astype("c8")
    assert np.allclose(linop(x).ravel(), (matrix @ torch.tensor(x).flatten()).numpy(), atol=1e-4)
    assert abs(inner(torch.tensor(linop(x)), torch.tensor(y)) - inner(torch.tensor(x), torch.tensor(linop.H(y)))) < 1e-3
    assert np.allclose(linop.H.H(x), linop(x))
    assert np.allclose(linop.N(x), linop.H(linop(x)), atol=1e-5)


def test_a_sigpy_app_solves_with_our_operator() -> None:
    import sigpy as sp

    shape = (12, 10)
    A = Masked(Sense(_maps(shape)), torch.arange(10).remainder(2).eq(0).reshape(1, 1, 1, 10))
    truth = complex_normal(1, 1, *shape, rng=_rng(1))
    y = A.forward(truth)[0].numpy()
    solved = sp.app.LinearLeastSquares(to_sigpy(A, shape), y, max_iter=200, show_pbar=False).run()
    assert relative(torch.tensor(solved), truth[0, 0]) < 1e-3  # 3 random coils, R = 2


@pytest.mark.parametrize("name", ["one coil, points", "sense, lines"])
def test_there_and_back_again(name: str) -> None:
    shape = (9, 7)
    operator = OPERATORS[name](shape)
    assert isinstance(operator, Masked)
    operator = Masked(operator.encoding, operator.mask[:1])
    returned = from_sigpy(to_sigpy(operator, shape))
    x = complex_normal(2, 1, *shape, rng=_rng())
    y = complex_normal(*operator.forward(x).shape, rng=_rng(1))
    check_linear_operator(returned, x, y)
    assert relative(returned.forward(x), operator.forward(x)) < 1e-6
    assert relative(returned.adjoint(y), operator.adjoint(y)) < 1e-6
    assert returned.norm == pytest.approx(largest_singular_value(operator, shape), rel=0.02)


@pytest.mark.parametrize("coils", [0, 2])
def test_radial_nufft_trains_and_reconstructs(coils: int) -> None:
    shape = (16, 14)
    encoding = _radial(shape, coils)
    truth = complex_normal(2, 1, *shape, rng=_rng())
    y = encoding.forward(truth)
    x = torch.zeros_like(truth, requires_grad=True)
    losses = []
    for _ in range(25):
        loss = 0.5 * (encoding.forward(x) - y).abs().square().sum()
        (gradient,) = torch.autograd.grad(loss, x)
        assert relative(gradient, encoding.adjoint(encoding.forward(x.detach()) - y)) < 1e-5
        x = (x - gradient / encoding.norm**2).detach().requires_grad_()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.1 * losses[0]
    assert all(later <= earlier for earlier, later in pairwise(losses))


def test_sigpy_encodings_differentiate_twice_and_take_conjugates() -> None:
    encoding = _radial((9, 7))
    x = complex_normal(1, 1, 9, 7, rng=_rng()).requires_grad_()
    loss = encoding.forward(x).abs().square().sum()
    (first,) = torch.autograd.grad(loss, x, create_graph=True)
    (second,) = torch.autograd.grad(first.real.sum(), x)
    assert relative(second, 2 * encoding.normal(torch.ones_like(x))) < 1e-4
    assert torch.equal(encoding.forward(x.detach().conj()), encoding.forward(x.detach().conj().resolve_conj()))


def test_wrapping_sigpy_leaves_the_global_generators_alone_and_repeats() -> None:
    check_global_state_untouched(lambda: _radial((9, 7)))
    assert _radial((9, 7)).norm == _radial((9, 7)).norm


def test_a_mask_of_whole_lines_is_the_same_as_its_two_dimensional_copy() -> None:
    shape = (17, 11)
    lines = _lines(shape)
    x = complex_normal(1, 1, *shape, rng=_rng())
    short, long = Masked(Fourier(), lines), Masked(Fourier(), lines.expand(-1, -1, *shape))
    assert torch.equal(short.forward(x), long.forward(x))
    assert relative(short.forward(x), keep(lines, fft2c(x))) < 1e-6
    assert relative(short.normal(x), long.normal(x)) < 1e-6

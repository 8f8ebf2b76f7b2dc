"""Conjugate gradients: the exact answer, each system on its own, whatever the pieces."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from ambient_mri.operators import Masked, Sense
from ambient_mri.solvers import conjugate_gradients, minimal_residuals, solve
from tests.laws.operators import complex_normal, dense, relative

SHAPE = (9, 12)


def _operator(scans: int, *, lines: bool, shape: tuple[int, int] = SHAPE) -> Masked:
    rng = torch.Generator().manual_seed(0)
    maps = complex_normal(scans, 3, *shape, rng=rng)
    mask = torch.rand(scans, 1, 1 if lines else shape[0], shape[1], generator=rng) < 0.5
    return Masked(Sense(maps / maps.abs().square().sum(1, keepdim=True).sqrt()), mask)


def _right(A: Masked) -> Tensor:
    assert isinstance(A.encoding, Sense)
    maps = A.encoding.maps
    return A.adjoint(complex_normal(*maps.shape, rng=torch.Generator().manual_seed(1)))


@pytest.mark.parametrize("lines", [True, False], ids=["lines", "points"])
@pytest.mark.parametrize("lam", [0.01, 0.3])
def test_the_answer_is_that_of_the_dense_matrix(lines: bool, lam: float) -> None:
    A = _operator(1, lines=lines)
    b = _right(A)
    matrix = dense(A, SHAPE, torch.complex64).to(torch.complex128)
    normal = matrix.mH @ matrix + lam * torch.eye(matrix.shape[1])
    exact = torch.linalg.solve(normal, b.flatten().to(torch.complex128))
    assert relative(conjugate_gradients(A, b, torch.tensor(lam), tolerance=1e-6).flatten(), exact) < 2e-5


@pytest.mark.parametrize("lines", [True, False], ids=["lines", "points"])
@pytest.mark.parametrize("tolerance", [1e-2, 1e-4])
def test_every_image_reaches_its_own_residual_and_differentiates(lines: bool, tolerance: float) -> None:
    A = _operator(4, lines=lines)
    lam = torch.tensor([0.01, 0.03, 0.1, 1.0]).view(4, 1, 1, 1)
    b = _right(A) * torch.tensor([1.0, 1e-3, 1e3, 1.0]).view(4, 1, 1, 1)
    x = conjugate_gradients(A, b, lam, tolerance=tolerance)
    sizes = [torch.linalg.vector_norm(v, dim=(1, 2, 3)) for v in (b - A.normal(x) - lam * x, b)]
    assert (sizes[0] <= 1.01 * tolerance * sizes[1]).all()
    for i in range(4):
        alone = conjugate_gradients(A.rows(slice(i, i + 1), slice(None)) if lines else _row(A, i), b[i : i + 1],
                                    lam[i : i + 1], tolerance=tolerance)  # fmt: skip
        assert relative(alone, x[i : i + 1]) < 1e-5
    tracked = b.clone().requires_grad_()
    (pulled,) = torch.autograd.grad(conjugate_gradients(A, tracked, lam, tolerance=1e-7), tracked, b)
    assert relative(pulled, conjugate_gradients(A, b, lam, tolerance=1e-7)) < 1e-3


def _row(A: Masked, i: int) -> Masked:
    assert isinstance(A.encoding, Sense)
    return Masked(Sense(A.encoding.maps[i : i + 1]), A.mask[i : i + 1])


def test_pieces_of_rows_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    from ambient_mri import solvers

    A = _operator(2, lines=True, shape=(17, 22))
    b, lam = _right(A), torch.tensor(0.02)
    whole = conjugate_gradients(A, b, lam)
    two_dimensional = solve(lambda x: A.normal(x) + lam * x, b, tolerance=1e-5)
    assert relative(whole, two_dimensional) < 1e-3
    for piece in (1, 50, 10**6):
        monkeypatch.setattr(solvers, "PIECE", piece)
        assert relative(conjugate_gradients(A, b, lam), whole) < 1e-6


def test_rows_where_nothing_was_seen_stay_zero_and_finite() -> None:
    A = _operator(1, lines=True)
    b = _right(A)
    b[:, :, 3:5] = 0
    x = conjugate_gradients(A, b, torch.tensor(0.01))
    assert torch.isfinite(torch.view_as_real(x)).all()
    assert x[:, :, 3:5].abs().max() == 0


def _system(n: int, scans: int) -> Tensor:
    """Neither symmetric nor positive: half of the symmetric part is negative."""
    rng = torch.Generator().manual_seed(2)
    skew = complex_normal(scans, n, n, rng=rng)
    signs = torch.linspace(-1, 1.5, n).to(skew.dtype)
    return torch.diag(signs) + 0.3 * skew / n**0.5


def test_minimal_residuals_never_grow_and_end_at_the_answer() -> None:
    n, scans = 20, 3
    matrices, b = _system(n, scans), complex_normal(scans, 1, 1, n, rng=torch.Generator().manual_seed(3))
    b = b * torch.tensor([1.0, 1e-3, 1e3]).view(3, 1, 1, 1)

    def apply(x: Tensor) -> Tensor:
        return (matrices @ x.reshape(scans, n, 1)).reshape(scans, 1, 1, n)

    def residual(x: Tensor) -> Tensor:
        return torch.linalg.vector_norm(b - apply(x), dim=(1, 2, 3)) / torch.linalg.vector_norm(b, dim=(1, 2, 3))

    def answer(iterations: int) -> Tensor:
        return minimal_residuals(lambda v: (v, apply(v)), b, tolerance=1e-6, max_iterations=iterations)

    left = [residual(answer(k)) for k in range(1, 12)]
    assert (left[0] <= 1 + 1e-6).all()
    assert all((later <= earlier + 1e-6).all() for earlier, later in pairwise(left))
    assert (residual(solve(apply, b, tolerance=1e-6, max_iterations=12)) > 1.5).any()  # conjugate gradients diverge
    exact = torch.linalg.solve(matrices, b.reshape(scans, n, 1)).reshape(b.shape)
    assert relative(answer(2 * n), exact) < 1e-3  # over the reals there are 2 n unknowns


def test_minimal_residuals_give_any_linear_image_of_the_answer() -> None:
    n, scans = 20, 3
    matrices, b = _system(n, scans), complex_normal(scans, 1, 1, n, rng=torch.Generator().manual_seed(3))
    left = complex_normal(scans, 7, n, rng=torch.Generator().manual_seed(4))

    def product(v: Tensor) -> tuple[Tensor, Tensor]:
        column = v.reshape(scans, n, 1)
        return (left @ column).reshape(scans, 1, 1, 7), (matrices @ column).reshape(b.shape)

    exact = left @ torch.linalg.solve(matrices, b.reshape(scans, n, 1))
    found = minimal_residuals(product, b, tolerance=1e-6, max_iterations=2 * n)
    assert relative(found, exact.reshape(scans, 1, 1, 7)) < 1e-3


def test_minimal_residuals_of_a_row_do_not_depend_on_the_others() -> None:
    matrices = _system(20, 2)
    matrices[1] = torch.eye(20) + 0.1 * matrices[1]  # good enough after a few iterations, and better after more
    b = complex_normal(2, 1, 1, 20, rng=torch.Generator().manual_seed(3))

    def answer(rows: slice) -> Tensor:
        def product(v: Tensor) -> tuple[Tensor, Tensor]:
            return v, (matrices[rows] @ v.reshape(-1, 20, 1)).reshape(-1, 1, 1, 20)

        return minimal_residuals(product, b[rows], tolerance=1e-2, max_iterations=8)

    together = answer(slice(None))
    for i in range(2):
        assert relative(answer(slice(i, i + 1)), together[i : i + 1]) < 1e-5

"""(AᴴA + λI)⁻¹: with derivatives inside the prior, by iterations where only the answer counts.

And minimal residuals, for systems with the derivative of a network in them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from ambient_mri.fourier import fft1c, ifft1c
from ambient_mri.operators import PIECE, Fourier, Identity, Masked, keep, pieces

DIRECT_WIDTH = 96
"""Rows up to this long are solved by a factorisation, which costs their third power; longer ones iterate."""
TOLERANCE, MAX_ITERATIONS = 1e-2, 24
"""Of the iteration inside the prior, for λ ≥ .01: an error of about 1 %."""


class Resolvent:
    """(AᴴA + λI)⁻¹ of a batch, set up once and applied several times: linear, symmetric, its own derivative.

    Pixels and one coil: AᴴA is a projector, and the inverse a formula. Coils with whole lines measured: image rows
    (along the phase encode) do not mix, so that each is a small dense system, factorised once. Else conjugate
    gradients, differentiated as what they approximate: the backward pass is the same solve.

    Parameters
    ----------
    A
        Operator of a batch of b images.
    lam
        λ > 0, `(b, 1, 1, 1)`.
    """

    def __init__(self, A: Masked, lam: Tensor) -> None:
        self.A, self.lam = A, lam
        self.factor = None if (matrices := _row_matrices(A)) is None else torch.linalg.cholesky(_shifted(matrices, lam))

    def __call__(self, b: Tensor) -> Tensor:
        """(AᴴA + λI)⁻¹ b for b `(b, 1, y, x)` complex64 in the range of Aᴴ."""
        if isinstance(self.A.encoding, Identity | Fourier):
            return b / (1 + self.lam)
        if self.factor is not None:
            solved: Tensor = torch.cholesky_solve(b.squeeze(1).unsqueeze(-1), self.factor)
            return solved.squeeze(-1).unsqueeze(1)
        iterated: Tensor = _Iterated.apply(b, self.A, self.lam)  # type: ignore[no-untyped-call]
        return iterated


class _Iterated(torch.autograd.Function):
    """Conjugate gradients; the vector-Jacobian product of a symmetric inverse is the inverse."""

    @staticmethod
    def forward(ctx: Any, b: Tensor, A: Masked, lam: Tensor) -> Tensor:
        ctx.A, ctx.lam = A, lam
        with torch.no_grad():
            return conjugate_gradients(A, b, lam, tolerance=TOLERANCE, max_iterations=MAX_ITERATIONS)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        back: Tensor = _Iterated.apply(grads[0], ctx.A, ctx.lam)  # type: ignore[no-untyped-call]
        return back, None, None


def _row_matrices(A: Masked) -> Tensor | None:
    """AᴴA of each image row `(b, y, x, x)`; None where rows mix or are too long."""
    mask, coils = A.mask, A.coils_of_lines
    if coils is None or mask.shape[-1] > DIRECT_WIDTH:
        return None
    identity = torch.eye(mask.shape[-1], dtype=coils.maps.dtype, device=mask.device)
    between = ifft1c(keep(mask, fft1c(identity))).mT  # FᴴMF, the same for all rows and coils
    return torch.einsum("bcyj,bcyi->byji", coils.maps.conj(), coils.maps) * between


def _shifted(matrices: Tensor, lam: Tensor) -> Tensor:
    return matrices + lam * torch.eye(matrices.shape[-1], dtype=matrices.dtype, device=matrices.device)


def conjugate_gradients(
    A: Masked, b: Tensor, lam: Tensor, *, tolerance: float = 1e-5, max_iterations: int = 500
) -> Tensor:
    """(AᴴA + λI)⁻¹ b to a relative residual of `tolerance`, each image of the batch on its own, or all slices of a
    volume together.

    Where coils measure whole lines, AᴴA does not mix the rows of an image: each row is a system of its own, which stops
    when its part of the residual is small enough, and a few rows of all coils stay in the cache from the first
    iteration to the last.

    Parameters
    ----------
    b
        `(b, 1, y, x)` complex.
    lam
        λ ≥ 0, broadcastable to `(b, 1, 1, 1)`; with 0 the iteration limit regularises.
    """

    def matrix(A: Masked, lam: Tensor) -> Callable[[Tensor], Tensor]:
        return lambda x: A.normal(x) + lam * x

    return iterate(matrix, A, b, (lam.expand(len(b), 1, b.shape[-2], 1),), tolerance, max_iterations)


def iterate(
    matrix: Callable[..., Callable[[Tensor], Tensor]], A: Masked, b: Tensor, weights: tuple[Tensor, ...],
    tolerance: float, max_iterations: int,
) -> Tensor:  # fmt: skip
    """Conjugate gradients on `matrix(A, *weights)`, in parts where these are systems of their own.

    Parameters
    ----------
    weights
        Each `(b, 1 or 2, y, 1 or x)`.
    """
    whole = (0, 1, 2, 3) if A.slices > 1 else (1, 2, 3)
    enough = tolerance**2 * _power(b, whole)
    coils = A.coils_of_lines
    if coils is None:
        return solve(matrix(A, *weights), b, max_iterations=max_iterations, enough=enough, axes=whole)
    enough = enough / b.shape[-2]
    parts: Iterable[tuple[slice, slice, slice]] = [(slice(None), slice(None), slice(None))]
    if b.device.type == "cpu":
        parts = pieces((len(b), *coils.maps.shape[1:]), by_lines=True, size=2 * PIECE)
    x = [
        solve(
            matrix(A.rows(i, y), *(weight[i, :, y] for weight in weights)), b[i, :, y],
            max_iterations=max_iterations, enough=enough[i], axes=(1, 3),
        )
        for i, _, y in parts
    ]  # fmt: skip
    return torch.cat([rows.flatten(0, 2) for rows in x]).view_as(b)


def solve(
    matrix: Callable[[Tensor], Tensor],
    b: Tensor,
    *,
    tolerance: float = 1e-5,
    max_iterations: int = 500,
    enough: Tensor | None = None,
    axes: tuple[int, ...] = (1, 2, 3),
) -> Tensor:
    """`matrix`⁻¹ b by conjugate gradients to a relative residual of `tolerance`, each row of the batch on its own.

    Parameters
    ----------
    matrix
        Symmetric and positive in the real inner product; it may treat real and imaginary parts apart.
    b
        `(b, c, y, x)` complex.
    enough
        Squared residual at which a system stops, instead of `tolerance`² ‖b‖².
    axes
        Those that one system spans; `matrix` must not mix what the other axes tell apart.
    """
    x, residual, direction = torch.zeros_like(b), b, b
    power = _power(b, axes)
    enough = tolerance**2 * power if enough is None else enough
    for _ in range(max_iterations):
        running = power > enough
        if not bool(running.any()):
            break
        image = matrix(direction)
        curvature = _inner(direction, image, axes)
        step = torch.where(running & (curvature > 0), power / curvature.clamp_min(1e-30), 0.0)
        x, residual = x + step * direction, residual - step * image
        following = torch.where(running, _power(residual, axes), power)
        direction = torch.where(running, residual + following / power.clamp_min(1e-30) * direction, direction)
        power = following
    return x


def minimal_residuals(
    product: Callable[[Tensor], tuple[Tensor, Tensor]], b: Tensor, *, tolerance: float, max_iterations: int,
    precondition: Callable[[Tensor], Tensor] = lambda residual: residual,
) -> Tensor:  # fmt: skip
    """L M⁻¹ b by generalised conjugate residuals (Eisenstat, Elman and Schultz 1983), each row on its own.

    For an M that need not be symmetric or positive: no iteration leaves a larger residual than the one before, where
    conjugate gradients may leave one of any size. Where M = A L + …, as in inverse problems, Lv is there when Mv has
    been made, and often nothing but L M⁻¹ b is wanted: M⁻¹ b itself, of the size of b, is never made.

    Parameters
    ----------
    product
        v → (Lv, Mv), linear over the reals; it must not mix the rows of the batch.
    b
        `(b, c, y, x)` complex.
    tolerance
        Of ‖residual‖ / ‖b‖; a row that has reached it is left as it is.
    max_iterations
        Calls of `product`, at least one; as many pairs of directions are kept.
    precondition
        About a multiple of M⁻¹, of each row on its own: it chooses the directions, and no choice is wrong.
    """
    axes = (1, 2, 3)
    residual, enough = b, tolerance**2 * _power(b, axes)
    answer = b.new_zeros(())
    directions: list[tuple[Tensor, Tensor]] = []  # (Lp, Mp), the latter orthonormal
    for _ in range(max_iterations):
        running = _power(residual, axes) > enough
        if directions and not bool(running.any()):
            break
        left, image = product(precondition(residual))
        for other, seen in directions:
            part = _inner(seen, image, axes)
            left, image = left - part * other, image - part * seen
        size = _power(image, axes).clamp_min(1e-30).rsqrt()
        left, image = size * left, size * image
        step = torch.where(running, _inner(image, residual, axes), 0.0)
        answer, residual = answer + step * left, residual - step * image
        directions.append((left, image))
    return answer


def _inner(a: Tensor, b: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Re⟨a, b⟩ over `axes`, kept as axes of length 1."""
    product = torch.view_as_real(a.resolve_conj()) * torch.view_as_real(b.resolve_conj())
    return product.sum((*axes, -1), keepdim=True)[..., 0]


def _power(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    return _inner(x, x, axes)

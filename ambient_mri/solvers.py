"""(N + λI)⁻¹ for N = AᴴA: with its derivative inside the prior, by conjugate gradients where only the answer counts.

The same for images that may differ from a guess more at some pixels than at others, and alike at neighbours. And
minimal residuals, for systems with the derivative of a network in them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ambient_mri.fourier import fft1c, ifft1c
from ambient_mri.operators import PIECE, Fourier, Identity, Masked, Sense, keep, pieces

DIRECT_WIDTH = 96
"""Rows up to this long are solved by a factorisation, which costs their third power; longer ones iterate."""
TOLERANCE, MAX_ITERATIONS = 1e-2, 24
"""Of the iteration inside the prior, for λ ≥ .01: an error of about 1 %."""
EXPLAINED_TOLERANCE, EXPLAINED_ITERATIONS = 3e-3, 12
"""The same where the spread differs from pixel to pixel."""
WHITE = 0.3
"""Share of an error that is white: the rest is alike at neighbours, as the errors of predictions are."""
ENERGY = (WHITE + (1 - WHITE) / 4) ** 2 + 4 * ((1 - WHITE) / 8) ** 2 + 4 * ((1 - WHITE) / 16) ** 2
"""Of the blur, Σ K²."""


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

    def project(self, x: Tensor) -> Tensor:
        """P x = (AᴴA + λI)⁻¹ AᴴA x: the part of an image that was seen."""
        return self(self.A.normal(x))


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


def explained(A: Masked, left: Tensor, spread: Tensor) -> Tensor:
    """C (N C + I)⁻¹ r: what of r = Aᴴ(y - AF) is explained by errors of F of covariance σ² C; differentiable in both.

    C = K S² K with S = diag(spread) and a short blur K. Pixels alone are taken as white, K = I, which is a formula.

    Parameters
    ----------
    left
        r, `(b, 1, y, x)` complex64 in the range of Aᴴ.
    spread
        Standard deviation over that of the noise, `(b, 2, y, x)`: of the real and of the imaginary part of every pixel.
    """
    if isinstance(A.encoding, Identity):
        return by_parts(1 / (A.mask + spread.square().reciprocal()), left)
    sharp: Tensor = _Explained.apply(blur(left), spread, A)  # type: ignore[no-untyped-call]
    return blur(sharp)


class _Explained(torch.autograd.Function):
    """z = S w with w = (S K N K S + I)⁻¹ S b. For a gradient g let t be to g what w is to b: the derivative by b is
    S t, and that by S is 2 S⁻¹ (w · t), part by part."""

    @staticmethod
    def forward(ctx: Any, b: Tensor, spread: Tensor, A: Masked) -> Tensor:
        ctx.A = A
        white = _whitened(A, b, spread)
        ctx.save_for_backward(spread, white)
        return by_parts(spread, white)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, None]:
        spread, white = ctx.saved_tensors
        back = _whitened(ctx.A, grads[0], spread)
        products = torch.cat([white.real * back.real, white.imag * back.imag], 1)
        return by_parts(spread, back), 2 * products / spread, None


def _whitened(A: Masked, b: Tensor, spread: Tensor) -> Tensor:
    """(S K N K S + I)⁻¹ S b by conjugate gradients with the diagonal of the matrix made equal first (Jacobi)."""
    diagonal = ENERGY * A.encoding.norm**2 * A.mask.float().mean((1, 2, 3), keepdim=True)  # about that of K N K
    scale = (1 + diagonal * spread.square()).rsqrt()
    weight, rest = spread * scale, scale.square()

    def matrix(t: Tensor) -> Tensor:
        return by_parts(weight, blur(A.normal(blur(by_parts(weight, t))))) + by_parts(rest, t)

    axes = (0, 1, 2, 3) if A.slices > 1 else (1, 2, 3)
    right = by_parts(weight, b)
    enough = EXPLAINED_TOLERANCE**2 * _power(right, axes)
    return by_parts(scale, solve(matrix, right, max_iterations=EXPLAINED_ITERATIONS, enough=enough, axes=axes))


def blur(x: Tensor) -> Tensor:
    """K x: `WHITE` of x and the rest of its mean over 3 × 3 pixels with weights 1, 2, 1; symmetric, zeros outside."""
    mean = torch.nn.functional.pad(x, (1, 1, 1, 1))
    for axis in (-1, -1, -2, -2):
        count = mean.shape[axis] - 1
        mean = mean.narrow(axis, 0, count) + mean.narrow(axis, 1, count)
    return WHITE * x + (1 - WHITE) / 16 * mean


def by_parts(weight: Tensor, x: Tensor) -> Tensor:
    """Real and imaginary part of x `(b, 1, y, x)`, each times its own weight, `(b, 2, y, x)`."""
    return torch.complex(weight[:, :1] * x.real, weight[:, 1:] * x.imag)


def _row_matrices(A: Masked) -> Tensor | None:
    """AᴴA of each image row `(b, y, x, x)`; None where rows mix or are too long."""
    mask, encoding = A.mask, A.encoding
    if not isinstance(encoding, Sense) or mask.shape[-2] != 1 or mask.shape[-1] > DIRECT_WIDTH:
        return None
    identity = torch.eye(mask.shape[-1], dtype=encoding.maps.dtype, device=mask.device)
    between = ifft1c(keep(mask, fft1c(identity))).mT  # FᴴMF, the same for all rows and coils
    return torch.einsum("bcyj,bcyi->byji", encoding.maps.conj(), encoding.maps) * between


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

    def answer(A: Masked, b: Tensor, lam: Tensor, enough: Tensor, axes: tuple[int, ...]) -> Tensor:
        return solve(lambda x: A.normal(x) + lam * x, b, max_iterations=max_iterations, enough=enough, axes=axes)

    lam = lam.expand(len(b), 1, 1, 1)
    whole = (0, 1, 2, 3) if A.slices > 1 else (1, 2, 3)
    enough = tolerance**2 * _power(b, whole)
    if not (isinstance(A.encoding, Sense) and A.mask.shape[-2] == 1):
        return answer(A, b, lam, enough, whole)
    enough = enough / b.shape[-2]
    shape = (len(b), *A.encoding.maps.shape[1:])
    everything = slice(None)
    parts: Iterable[tuple[slice, slice, slice]] = [(everything, everything, everything)]
    if b.device.type == "cpu":
        parts = pieces(shape, by_lines=True, size=2 * PIECE)
    x = [answer(A.rows(i, y), b[i, :, y], lam[i], enough[i], (1, 3)) for i, _, y in parts]
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

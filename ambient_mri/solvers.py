"""(N + λI)⁻¹ for N = AᴴA: a fixed polynomial where gradients pass, conjugate gradients where only the answer counts."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from ambient_mri.operators import PIECE, Fourier, Identity, Masked, Sense, pieces

CHEBYSHEV_STEPS = 16


def resolvent(A: Masked, b: Tensor, lam: Tensor, steps: int = CHEBYSHEV_STEPS) -> Tensor:
    """(AᴴA + λI)⁻¹ b by Chebyshev iteration, for b in the range of Aᴴ.

    The spectrum of AᴴA lies in [0, ‖E‖²], so the iteration needs no inner products and is a fixed polynomial
    in AᴴA: linear, symmetric, differentiable. Where AᴴA is a projector (pixels, one coil) it is exact at once.
    Error at most 1/T_k(1 + 2λ/‖E‖²): 8 % at λ = .01 and 16 steps.

    Parameters
    ----------
    A
        Operator of a batch of b images.
    b
        `(b, 1, y, x)` complex.
    lam
        λ > 0, `(b, 1, 1, 1)`.
    """
    if isinstance(A.encoding, Identity | Fourier):
        return b / (1 + lam)
    half = A.encoding.norm**2 / 2
    centre = half + lam
    sigma = centre / half
    rho = 1 / sigma
    step = b / centre
    x, residual = step, b
    for _ in range(steps - 1):
        residual = residual - (A.normal(step) + lam * step)
        following = 1 / (2 * sigma - rho)
        step = following * rho * step + (2 * following / half) * residual
        rho = following
        x = x + step
    return x


def conjugate_gradients(
    A: Masked, b: Tensor, lam: Tensor, *, tolerance: float = 1e-5, max_iterations: int = 500
) -> Tensor:
    """(AᴴA + λI)⁻¹ b to a relative residual of `tolerance`, each image of the batch on its own.

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
    whole = (1, 2, 3)
    enough = tolerance**2 * _power(b, whole)
    if not (isinstance(A.encoding, Sense) and A.mask.shape[-2] == 1):
        return answer(A, b, lam, enough, whole)
    enough = enough / b.shape[-2]
    shape = (len(b), *A.encoding.maps.shape[1:])
    everything = slice(None)
    parts: Iterable[tuple[slice, slice, slice]] = [(everything, everything, everything)]
    if b.device.type == "cpu":
        parts = pieces(shape, by_lines=True, size=4 * PIECE)
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
        Symmetric and positive in the real inner product; it may treat real and imaginary parts apart. A direction
        in which it is not positive (a network's derivative need not be) is passed over.
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


def _inner(a: Tensor, b: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Re⟨a, b⟩ over `axes`, kept as axes of length 1."""
    product = torch.view_as_real(a.resolve_conj()) * torch.view_as_real(b.resolve_conj())
    return product.sum((*axes, -1), keepdim=True)[..., 0]


def _power(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    return _inner(x, x, axes)

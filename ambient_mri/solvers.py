"""(N + λI)⁻¹ for N = AᴴA: a fixed polynomial where gradients pass, conjugate gradients where only the answer counts."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ambient_mri.operators import Fourier, Identity, Masked

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

    Parameters
    ----------
    b
        `(b, 1, y, x)` complex.
    lam
        λ ≥ 0, broadcastable to `(b, 1, 1, 1)`; with 0 the iteration limit regularises.
    """
    return solve(lambda x: A.normal(x) + lam * x, b, tolerance=tolerance, max_iterations=max_iterations)


def solve(
    matrix: Callable[[Tensor], Tensor], b: Tensor, *, tolerance: float = 1e-5, max_iterations: int = 500
) -> Tensor:
    """`matrix`⁻¹ b by conjugate gradients to a relative residual of `tolerance`, each row of the batch on its own.

    Parameters
    ----------
    matrix
        Symmetric and positive in the real inner product; it may treat real and imaginary parts apart. A direction
        in which it is not positive (a network's derivative need not be) is passed over.
    b
        `(b, c, y, x)` complex.
    """
    x, residual, direction = torch.zeros_like(b), b.clone(), b.clone()
    power = target = _power(b)
    for _ in range(max_iterations):
        running = power > tolerance**2 * target
        if not bool(running.any()):
            break
        image = matrix(direction)
        curvature = (direction.conj() * image).real.sum((1, 2, 3), keepdim=True)
        step = torch.where(running & (curvature > 0), power / curvature.clamp_min(1e-30), 0.0)
        x, residual = x + step * direction, residual - step * image
        following = torch.where(running, _power(residual), power)
        direction = torch.where(running, residual + following / power.clamp_min(1e-30) * direction, direction)
        power = following
    return x


def _power(x: Tensor) -> Tensor:
    return x.abs().square().sum((1, 2, 3), keepdim=True)

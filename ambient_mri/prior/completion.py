"""The image that a measurement makes of a prediction, by what is known of the error of this prediction.

Let F be the prediction and x - F a Gaussian field of precision P in units of the noise, so that x is the more likely
the less (x - F)ᵀ P (x - F). Its mean, given y = Ax and noise, is

    (AᴴA + P)⁻¹ (Aᴴy + P F) = F + (AᴴA + P)⁻¹ Aᴴ (y - AF).

P is a Markov random field (Besag 1974; Rue and Held 2005): how certain F is at every pixel, and how much alike its
errors are at two neighbours, for the real and the imaginary part. So what a guess leaves unexplained is explained where
the guess may be wrong, by errors that are as smooth as errors are there. Neighbours are those along the axes that are
phase-encoded: along x where whole lines are measured, so that rows remain systems of their own, else along y too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from ambient_mri.operators import Identity, Masked
from ambient_mri.solvers import iterate

AXES = (-1, -2)
"""Of an image, in the order of `Precision.pairs`: along the lines' phase encode, and along the readout."""
TOLERANCE, ITERATIONS = 3e-3, 12
"""Of conjugate gradients that go on from an image: of what that leaves."""


class Precision(NamedTuple):
    """P: Σ pixels·x² + Σ pairs·(difference to the next pixel)², of the real and of the imaginary part.

    Attributes
    ----------
    pixels
        `(b, 2, y, x)`, above 0.
    pairs
        `(b, 2, y, x)` of a pixel and the next one along x, or `(b, 4, y, x)`, the same along y after that; 0 or more,
        and 0 where there is no next one.
    """

    pixels: Tensor
    pairs: Tensor

    @classmethod
    def of(cls, A: Masked, lam: Tensor, variance: Tensor, likeness: Tensor) -> Precision:
        """From λ `(b, 1, 1, 1)`, variances `(b, 2, y, x)` and likeness to the next pixel along x and along y.

        Likeness, `(b, 4, y, x)`, is in units of the precision of the two pixels, of which it takes the geometric mean.
        """
        pixels = lam / variance
        axes = AXES[:1] if A.mask.shape[-2] == 1 else AXES
        pairs = [
            _but_the_last((pixels * pixels.roll(-1, axis)).sqrt() * alike, axis)
            for axis, alike in zip(axes, likeness.split(2, 1), strict=False)
        ]
        return cls(pixels, torch.cat(pairs, 1))

    def __call__(self, x: Tensor) -> Tensor:
        """P x for x `(b, 1, y, x)` complex."""
        image = by_parts(self.pixels, x)
        for axis, pairs in self._along():
            pull = by_parts(pairs, x.roll(-1, axis) - x)
            image = image + pull.roll(1, axis) - pull
        return image

    def diagonal(self) -> Tensor:
        """Of P, `(b, 2, y, x)`."""
        return self.pixels + sum(pairs + pairs.roll(1, axis) for axis, pairs in self._along())

    def derivative(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        """Of aᵀ P b, for real and imaginary parts as in P, by `pixels` and by `pairs`."""
        rises = [_products(a.roll(-1, axis) - a, b.roll(-1, axis) - b) for axis, _ in self._along()]
        return _products(a, b), torch.cat(rises, 1)

    def _along(self) -> Iterator[tuple[int, Tensor]]:
        return zip(AXES, self.pairs.split(2, 1), strict=False)


def completed(A: Masked, x_in: Tensor, predicted: Tensor, precision: Precision, begin: Tensor) -> Tensor:
    """(AᴴA + P)⁻¹ (x_in + P F), differentiable in F and P.

    Parameters
    ----------
    x_in
        Aᴴy, `(b, 1, y, x)` complex64.
    predicted
        F, of the same shape.
    begin
        Where the iteration begins; what it does not reach is as it was here.
    """
    answer: Tensor = _Completed.apply(x_in + precision(predicted), *precision, begin, A)  # type: ignore[no-untyped-call]
    return answer


class _Completed(torch.autograd.Function):
    """x = (N + P)⁻¹ b has dx = (N + P)⁻¹ (db - dP x): the backward pass is one solve more."""

    @staticmethod
    def forward(ctx: Any, b: Tensor, pixels: Tensor, pairs: Tensor, begin: Tensor, A: Masked) -> Tensor:
        precision = Precision(pixels, pairs)
        left = b - A.normal(begin) - precision(begin)
        answer = begin + gradients(A, left, precision, TOLERANCE, ITERATIONS)
        ctx.A = A
        ctx.save_for_backward(answer, pixels, pairs)
        return answer

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None]:
        answer, *saved = ctx.saved_tensors
        precision = Precision(*saved)
        back = gradients(ctx.A, grads[0], precision, TOLERANCE, ITERATIONS)
        by_pixels, by_pairs = precision.derivative(back, answer)
        return back, -by_pixels, -by_pairs, None, None


def gradients(A: Masked, b: Tensor, precision: Precision, tolerance: float, iterations: int) -> Tensor:
    """(AᴴA + P)⁻¹ b by conjugate gradients, with the diagonal of the matrix made equal first (Jacobi)."""
    measured = A.mask.float()  # the diagonal of AᴴA, or about that
    if not isinstance(A.encoding, Identity):
        measured = A.encoding.norm**2 * measured.mean((1, 2, 3), keepdim=True)
    scale = (measured + precision.diagonal()).rsqrt()

    def matrix(A: Masked, scale: Tensor, pixels: Tensor, pairs: Tensor) -> Callable[[Tensor], Tensor]:
        precision = Precision(pixels, pairs)

        def product(scaled: Tensor) -> Tensor:
            x = by_parts(scale, scaled)
            return by_parts(scale, A.normal(x) + precision(x))

        return product

    return by_parts(scale, iterate(matrix, A, by_parts(scale, b), (scale, *precision), tolerance, iterations))


def by_parts(weight: Tensor, x: Tensor) -> Tensor:
    """Real and imaginary part of x `(b, 1, y, x)`, each times its own weight, `(b, 2, y, x)`."""
    return torch.complex(weight[:, :1] * x.real, weight[:, 1:] * x.imag)


def _products(a: Tensor, b: Tensor) -> Tensor:
    return torch.cat([a.real * b.real, a.imag * b.imag], 1)


def _but_the_last(values: Tensor, axis: int) -> Tensor:
    last = (0, 1) if axis == -1 else (0, 0, 0, 1)
    return pad(values.narrow(axis, 0, values.shape[axis] - 1), last)

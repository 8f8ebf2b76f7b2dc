"""Operators of sigpy as encodings, and encodings as operators of sigpy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ambient_mri.errors import InputError
from ambient_mri.operators.linear import LinearOperator, weigh


class _SigpyApply(torch.autograd.Function):
    """Applies a sigpy Linop to each row of a batch; the vjp is its adjoint."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, linop: Any, shape: tuple[int, ...]) -> Tensor:
        ctx.linop, ctx.input_shape = linop, x.shape[1:]
        rows = [linop(row.reshape(linop.ishape).cpu().numpy()) for row in x.detach().resolve_conj()]
        return torch.stack([torch.as_tensor(row) for row in rows]).reshape(len(x), *shape).to(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        back: Tensor = _SigpyApply.apply(grads[0], ctx.linop.H, tuple(ctx.input_shape))  # type: ignore[no-untyped-call]
        return back, None, None


@dataclass(frozen=True)
class SigpyEncoding:
    """Any sigpy Linop as an encoding with autograd, e.g. a radial NUFFT; made by `from_sigpy`.

    Of a single slice, it is applied to each image of a batch. Of a volume `(z, y, x)`, the rows of the batch are its
    slices, which the Linop mixes: images `(z, 1, y, x)` make one measurement `(1, c, …)`.

    `coverage`: the share of the grid of k-space that its samples are worth, which a network is told in place of a mask.
    """

    linop: Any
    norm: float
    coverage: float = 1.0

    @property
    def slices(self) -> int:
        """Images that one measurement is of."""
        return math.prod(self.linop.ishape[:-2])

    @property
    def _measurement_shape(self) -> tuple[int, ...]:
        shape = tuple(self.linop.oshape)
        return (1,) * (3 - len(shape)) + shape if len(shape) <= 3 else (shape[0], math.prod(shape[1:-1]), shape[-1])

    def forward(self, x: Tensor) -> Tensor:
        images = x.reshape(-1, *self.linop.ishape)
        out: Tensor = _SigpyApply.apply(images, self.linop, self._measurement_shape)  # type: ignore[no-untyped-call]
        return out

    def adjoint(self, y: Tensor) -> Tensor:
        out: Tensor = _SigpyApply.apply(y, self.linop.H, tuple(self.linop.ishape))  # type: ignore[no-untyped-call]
        return out.reshape(-1, 1, *self.linop.ishape[-2:])

    def normal(self, x: Tensor) -> Tensor:
        return self.adjoint(self.forward(x))

    def masked_normal(self, x: Tensor, weight: Tensor) -> Tensor:
        return self.adjoint(weigh(weight, self.forward(x)))


def from_sigpy(linop: Any) -> SigpyEncoding:
    """Wrap a `sigpy.linop.Linop` of one image or volume; its norm is found by power iteration.

    Parameters
    ----------
    linop
        Maps `(y, x)`, `(1, y, x)` or a volume `(z, y, x)` to any shape, coils first. Measurements have three axes
        behind that of the batch: of more, those between the first and the last are one.

    Raises
    ------
    InputError
        If it maps something else.
    """
    import numpy as np

    if not 2 <= len(linop.ishape) <= 3:
        raise InputError(f"a Linop of arrays {tuple(linop.ishape)}", where="linop",
                         remedy="Give one of an image (y, x) or a volume (z, y, x)")  # fmt: skip
    rng = np.random.default_rng(0)  # sigpy.app.MaxEig would draw from NumPy's global generator
    x = (rng.standard_normal(linop.ishape) + 1j * rng.standard_normal(linop.ishape)).astype(np.complex64)
    eigenvalue = 0.0
    for _ in range(30):
        x = linop.N(x / (eigenvalue or np.linalg.norm(x)))
        eigenvalue = float(np.linalg.norm(x))
    return SigpyEncoding(linop, eigenvalue**0.5 * 1.01)


def to_sigpy(operator: LinearOperator, image_shape: tuple[int, int]) -> Any:
    """The operator of one scan (batch size 1) as a sigpy Linop from `(y, x)` to `(c, y, x)`.

    `forward`, `adjoint` and `.H.H` behave as sigpy expects, so every sigpy app accepts it.
    """
    import numpy as np
    import sigpy as sp

    probe = operator.forward(torch.zeros(1, 1, *image_shape, dtype=torch.complex64))
    measurement_shape = tuple(probe.shape[1:])

    class _Bridge(sp.linop.Linop):  # type: ignore[misc]
        def __init__(self, adjoint: bool) -> None:
            self.is_adjoint = adjoint
            shapes = (image_shape, measurement_shape) if adjoint else (measurement_shape, image_shape)
            super().__init__(*shapes, repr_str=type(operator).__name__ + (".H" if adjoint else ""))

        def _apply(self, value: Any) -> Any:
            tensor = torch.from_numpy(np.ascontiguousarray(value, dtype=np.complex64))
            if self.is_adjoint:
                return operator.adjoint(tensor[None])[0, 0].numpy()
            return operator.forward(tensor[None, None])[0].numpy()

        def _adjoint_linop(self) -> Any:
            return _Bridge(not self.is_adjoint)

        def _normal_linop(self) -> Any:
            return _Bridge(True) * _Bridge(False)

    return _Bridge(False)

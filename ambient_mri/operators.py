"""Linear operators between images `(b, 1, y, x)` and measurements `(b, c, y, x)`.

Every acquisition here is A = M E, a mask M on measurement space after an encoding E. For pixels,
one coil and coils with Σ|S|² = 1 the encoding is an isometry (EᴴE = I), so one formula serves all.
Operators are immutable; masks use `where`, so that NaN in unmeasured samples cannot leak.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor

from ambient_mri.fourier import fft2c, filtered, ifft2c, natural_order


class LinearOperator(Protocol):
    """A linear map from images `(b, 1, y, x)` to measurements `(b, c, y, x)`, complex64."""

    def forward(self, x: Tensor) -> Tensor: ...
    def adjoint(self, y: Tensor) -> Tensor: ...
    def normal(self, x: Tensor) -> Tensor: ...


class Encoding(LinearOperator, Protocol):
    """What is measured before the mask. `norm` bounds its largest singular value."""

    @property
    def norm(self) -> float: ...
    def masked_normal(self, x: Tensor, weight: Tensor) -> Tensor:
        """Eᴴ diag(weight) E x; `weight` is bool or real, broadcast over coils."""


def keep(mask: Tensor, values: Tensor) -> Tensor:
    """`values` where `mask`, exact zeros elsewhere (NaN-proof, unlike a product)."""
    return torch.where(mask, values, torch.zeros((), dtype=values.dtype, device=values.device))


def _weigh(weight: Tensor, values: Tensor) -> Tensor:
    return keep(weight, values) if weight.dtype == torch.bool else weight * values


@dataclass(frozen=True)
class Identity:
    """Pixels measured directly (restoration of missing pixels or blocks)."""

    norm: float = 1.0

    def forward(self, x: Tensor) -> Tensor:
        return x

    def adjoint(self, y: Tensor) -> Tensor:
        return y

    def normal(self, x: Tensor) -> Tensor:
        return x

    def masked_normal(self, x: Tensor, weight: Tensor) -> Tensor:
        return _weigh(weight, x)


@dataclass(frozen=True)
class Fourier:
    """Single-coil Cartesian encoding F."""

    norm: float = 1.0

    def forward(self, x: Tensor) -> Tensor:
        return fft2c(x)

    def adjoint(self, y: Tensor) -> Tensor:
        return ifft2c(y)

    def normal(self, x: Tensor) -> Tensor:
        return x

    def masked_normal(self, x: Tensor, weight: Tensor) -> Tensor:
        return filtered(x, natural_order(weight))


@dataclass(frozen=True)
class Coils:
    """Multiplication by sensitivity maps `(b, c, y, x)` (b may be 1)."""

    maps: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return self.maps * x

    def adjoint(self, y: Tensor) -> Tensor:
        return (self.maps.conj() * y).sum(1, keepdim=True)

    def normal(self, x: Tensor) -> Tensor:
        return self.maps.abs().square().sum(1, keepdim=True) * x


@dataclass(frozen=True)
class Sense:
    """Multi-coil Cartesian encoding E x = F(S_c x) (Pruessmann 1999).

    `maps` `(b, c, y, x)` are normalised, Σ_c |S_c|² = 1, over the whole field of view or on a
    support: then EᴴE is the identity on the support and `norm` is 1.
    """

    maps: Tensor
    norm: float = 1.0

    def forward(self, x: Tensor) -> Tensor:
        return fft2c(self.maps * x)

    def adjoint(self, y: Tensor) -> Tensor:
        return (self.maps.conj() * ifft2c(y)).sum(1, keepdim=True)

    def normal(self, x: Tensor) -> Tensor:
        return Coils(self.maps).normal(x)

    def masked_normal(self, x: Tensor, weight: Tensor) -> Tensor:
        weight = natural_order(weight)
        differentiated = torch.is_grad_enabled() and any(t.requires_grad for t in (self.maps, x, weight))
        if differentiated or x.device.type != "cpu":
            return self._filtered(self.maps, x, weight)
        shape = (len(x), *self.maps.shape[1:])
        maps, weight = self.maps.expand(shape), weight.expand(len(x), -1, -1, -1)
        image = torch.zeros_like(x)
        for b, c, y in pieces(shape, by_lines=weight.shape[-2] == 1):  # each stays in the cache of the processor
            image[b, :, y] += self._filtered(maps[b, c, y], x[b, :, y], weight[b])
        return image

    @staticmethod
    def _filtered(maps: Tensor, x: Tensor, weight: Tensor) -> Tensor:
        return (maps.conj() * filtered(maps * x, weight)).sum(1, keepdim=True)


PIECE = 2**16
"""Complex numbers, half a MiB: two such pieces and the maps are at work at once."""


def pieces(shape: Sequence[int], *, by_lines: bool, size: int = PIECE) -> Iterator[tuple[slice, slice, slice]]:
    """Ranges of images, coils and rows that cover `shape` `(b, c, y, x)` in parts of about `size` numbers.

    Where whole lines are measured a part is some rows of all coils, since other rows do not matter to them; elsewhere
    it is some coils of the whole image. Small images come several at a time.
    """
    b, c, y, x = shape
    step_b, step_c, step_y = max(1, size // (c * y * x)), c, y
    if c * y * x > size:
        step_c, step_y = (c, max(1, size // (c * x))) if by_lines else (max(1, size // (y * x)), y)
    for i in range(0, b, step_b):
        for j in range(0, c, step_c):
            for k in range(0, y, step_y):
                yield slice(i, i + step_b), slice(j, j + step_c), slice(k, k + step_y)


@dataclass(frozen=True)
class Gaussian:
    """Compressed sensing with a real matrix `(m, y·x)`, rows i.i.d. N(0, 1/m); y is `(b, 1, 1, m)`."""

    matrix: Tensor
    image_shape: tuple[int, int]

    @classmethod
    def draw(cls, measurements: int, image_shape: tuple[int, int], rng: torch.Generator) -> Gaussian:
        matrix = torch.randn(measurements, image_shape[0] * image_shape[1], generator=rng)
        return cls(matrix / measurements**0.5, image_shape)

    @cached_property
    def norm(self) -> float:
        return float(torch.linalg.matrix_norm(self.matrix, 2))

    def forward(self, x: Tensor) -> Tensor:
        return (x.flatten(-2) @ self.matrix.T.to(x.dtype)).unsqueeze(-2)

    def adjoint(self, y: Tensor) -> Tensor:
        image: Tensor = (y.squeeze(-2) @ self.matrix.to(y.dtype)).unflatten(-1, self.image_shape)
        return image

    def normal(self, x: Tensor) -> Tensor:
        return self.adjoint(self.forward(x))

    def masked_normal(self, x: Tensor, weight: Tensor) -> Tensor:
        return self.adjoint(_weigh(weight, self.forward(x)))


@dataclass(frozen=True)
class Compose:
    """`outer ∘ inner`; the error of a failing part names that part."""

    outer: LinearOperator
    inner: LinearOperator

    def forward(self, x: Tensor) -> Tensor:
        return self.outer.forward(self.inner.forward(x))

    def adjoint(self, y: Tensor) -> Tensor:
        return self.inner.adjoint(self.outer.adjoint(y))

    def normal(self, x: Tensor) -> Tensor:
        return self.inner.adjoint(self.outer.normal(self.inner.forward(x)))


@dataclass(frozen=True)
class Mask:
    """Measurement space to itself: what `mask` `(b, 1, y or 1, x)` kept; D of the method."""

    mask: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return keep(self.mask, x)

    adjoint = forward
    normal = forward


@dataclass(frozen=True)
class Masked:
    """A = M E: the operator of a scan. `mask` `(b, 1, y, x)`; `(b, 1, 1, x)` where whole lines are measured.

    Examples
    --------
    >>> import torch
    >>> A = Masked(Fourier(), torch.tensor([True, False, True, True]).reshape(1, 1, 1, 4))
    >>> A.forward(torch.ones(1, 1, 4, 4, dtype=torch.complex64)).shape
    torch.Size([1, 1, 4, 4])
    """

    encoding: Encoding
    mask: Tensor = field(repr=False)

    def forward(self, x: Tensor) -> Tensor:
        return keep(self.mask, self.encoding.forward(x))

    def adjoint(self, y: Tensor) -> Tensor:
        return self.encoding.adjoint(keep(self.mask, y))

    def normal(self, x: Tensor) -> Tensor:
        return self.encoding.masked_normal(x, self.mask)

    def show(self, kept: Tensor) -> Masked:
        """Ã = D A for D = diag(`kept`): measures only what both measured."""
        return Masked(self.encoding, self.mask & kept)

    def rows(self, images: slice, rows: slice) -> Masked:
        """What `normal` is to some rows y of some images, which it does not mix where coils measure whole lines."""
        assert isinstance(self.encoding, Sense)
        assert self.mask.shape[-2] == 1
        maps, mask = self.encoding.maps, self.mask
        maps = maps[images if len(maps) > 1 else slice(None), :, rows]
        return Masked(Sense(maps), mask[images] if len(mask) > 1 else mask)


class _SigpyApply(torch.autograd.Function):
    """Applies a sigpy Linop to each image of a batch; the vjp is its adjoint."""

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

    `coverage`: the share of the grid of k-space that its samples are worth, which a network is told in place of a mask.
    """

    linop: Any
    norm: float
    coverage: float = 1.0

    @property
    def _image_shape(self) -> tuple[int, ...]:
        return (1, *self.linop.ishape[-2:])

    @property
    def _measurement_shape(self) -> tuple[int, ...]:
        shape = tuple(self.linop.oshape)
        return (1,) * (3 - len(shape)) + shape

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = _SigpyApply.apply(x, self.linop, self._measurement_shape)  # type: ignore[no-untyped-call]
        return out

    def adjoint(self, y: Tensor) -> Tensor:
        out: Tensor = _SigpyApply.apply(y, self.linop.H, self._image_shape)  # type: ignore[no-untyped-call]
        return out

    def normal(self, x: Tensor) -> Tensor:
        return self.adjoint(self.forward(x))

    def masked_normal(self, x: Tensor, weight: Tensor) -> Tensor:
        return self.adjoint(_weigh(weight, self.forward(x)))


def from_sigpy(linop: Any) -> SigpyEncoding:
    """Wrap a `sigpy.linop.Linop` of one image; its norm is found by power iteration.

    Parameters
    ----------
    linop
        Maps `(y, x)` (or `(1, y, x)`) to any shape of at most three axes, coils first.
    """
    import numpy as np

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

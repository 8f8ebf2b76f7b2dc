"""Encodings E: what is measured before the mask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ambient_mri.fourier import fft2c, filtered, ifft2c, natural_order
from ambient_mri.operators.linear import weigh


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
        return weigh(weight, x)


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

    @cached_property
    def _conjugate(self) -> Tensor:
        """As numbers: a product with `maps.conj()`, which is a view, makes them each time."""
        return self.maps.conj().resolve_conj()

    def normal(self, x: Tensor) -> Tensor:
        return Coils(self.maps).normal(x)

    def masked_normal(self, x: Tensor, weight: Tensor) -> Tensor:
        weight = natural_order(weight)
        differentiated = torch.is_grad_enabled() and any(t.requires_grad for t in (self.maps, x, weight))
        if differentiated or x.device.type != "cpu":
            return (self.maps.conj() * filtered(self.maps * x, weight)).sum(1, keepdim=True)
        shape = (len(x), *self.maps.shape[1:])
        maps, conjugate = self.maps.expand(shape), self._conjugate.expand(shape)
        weight = weight.expand(len(x), -1, -1, -1)
        image = torch.zeros_like(x)
        for b, c, y in pieces(shape, by_lines=weight.shape[-2] == 1):  # each stays in the cache of the processor
            coil_images = filtered(maps[b, c, y] * x[b, :, y], weight[b])
            image[b, :, y] += coil_images.mul_(conjugate[b, c, y]).sum(1, keepdim=True)
        return image


PIECE = 2**17
"""Complex numbers, one MiB: smaller pieces cost more calls, larger ones leave the cache."""


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
        return self.adjoint(weigh(weight, self.forward(x)))

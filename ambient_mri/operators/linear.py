"""What a linear operator and an encoding are, and how operators compose."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


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


def weigh(weight: Tensor, values: Tensor) -> Tensor:
    """diag(weight) values; `weight` is bool or real."""
    return keep(weight, values) if weight.dtype == torch.bool else weight * values


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

"""Laws of a linear operator: shapes, adjoint (dot test), normal, vjp = adjoint, largest singular value.

A new operator or encoding is one more row in the test that calls these.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor

from ambient_mri.operators import LinearOperator


def complex_normal(*shape: int, rng: Generator, dtype: torch.dtype = torch.complex64) -> Tensor:
    """White complex noise, unit standard deviation per real component."""
    real = torch.float64 if dtype == torch.complex128 else torch.float32
    return torch.complex(torch.randn(shape, generator=rng, dtype=real), torch.randn(shape, generator=rng, dtype=real))


def inner(a: Tensor, b: Tensor) -> complex:
    """⟨a, b⟩ = Σ ā b, accumulated in double precision."""
    return complex(torch.vdot(a.flatten().to(torch.complex128), b.flatten().to(torch.complex128)))


def relative(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm().clamp_min(1e-30))


def check_shapes(operator: LinearOperator, image: Tensor, measurement: Tensor) -> None:
    """Shapes first: a wrong shape would make every later law fail for the wrong reason."""
    for given, got in (
        (measurement, operator.forward(image)),
        (image, operator.adjoint(measurement)),
        (image, operator.normal(image)),
    ):
        assert got.shape == given.shape
        assert got.dtype == given.dtype


def check_adjoint(operator: LinearOperator, image: Tensor, measurement: Tensor, tolerance: float = 1e-5) -> None:
    """⟨A x, y⟩ = ⟨x, Aᴴ y⟩ and normal = AᴴA."""
    forward, adjoint = operator.forward(image), operator.adjoint(measurement)
    size = float(forward.norm() * measurement.norm())
    assert abs(inner(forward, measurement) - inner(image, adjoint)) <= tolerance * size
    assert relative(operator.normal(image), operator.adjoint(forward)) < tolerance


def check_vjp(operator: LinearOperator, image: Tensor, measurement: Tensor, tolerance: float = 1e-5) -> None:
    """Autograd through `forward` applies the adjoint, through `adjoint` the forward map."""
    x, y = image.clone().requires_grad_(), measurement.clone().requires_grad_()
    (pulled,) = torch.autograd.grad(operator.forward(x), x, measurement)
    (pushed,) = torch.autograd.grad(operator.adjoint(y), y, image)
    assert relative(pulled, operator.adjoint(measurement)) < tolerance
    assert relative(pushed, operator.forward(image)) < tolerance


def check_linear_operator(operator: LinearOperator, image: Tensor, measurement: Tensor) -> None:
    """All of the above, in order."""
    check_shapes(operator, image, measurement)
    check_adjoint(operator, image, measurement)
    check_vjp(operator, image, measurement)


def dense(operator: LinearOperator, image_shape: tuple[int, int], dtype: torch.dtype = torch.complex64) -> Tensor:
    """The matrix `(measurements, y·x)` of a small operator of one scan."""
    size = image_shape[0] * image_shape[1]
    basis = torch.eye(size, dtype=dtype).reshape(size, 1, *image_shape)
    return operator.forward(basis).reshape(size, -1).T


def largest_singular_value(operator: LinearOperator, image_shape: tuple[int, int]) -> float:
    return float(torch.linalg.matrix_norm(dense(operator, image_shape), 2))

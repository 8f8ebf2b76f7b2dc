"""Gaussian images with known answers: x ~ CN(0, Σ), E[x xᴴ] = Σ, so that every conditional mean is a matrix.

White measurement noise of standard deviation σ per real component has the complex variance 2σ².
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from ambient_mri.operators import Encoding, Fourier, Identity, Masked, Sense
from tests.laws.operators import complex_normal, dense

DOUBLE = torch.complex128
Shape = tuple[int, int]


def covariance(shape: Shape, correlation: float = 0.85, size: float = 0.25) -> Tensor:
    """Neighbours are correlated, with a phase, so that Σ is Hermitian and not real."""
    rows, columns = (torch.arange(n, dtype=torch.float64).repeat(r) for n, r in ((shape[0], 1), (shape[1], 1)))
    y, x = (g.flatten() for g in torch.meshgrid(rows, columns, indexing="ij"))
    distance = (y[:, None] - y).abs() + (x[:, None] - x).abs()
    phase = 0.4 * (x[:, None] - x) - 0.3 * (y[:, None] - y)
    return size * torch.polar(correlation**distance, phase)


def maps(shape: Shape, coils: int = 2) -> Tensor:
    values = complex_normal(1, coils, *shape, rng=Generator().manual_seed(11), dtype=DOUBLE)
    return values / values.abs().square().sum(1, keepdim=True).sqrt()


ENCODINGS: dict[str, Callable[[Shape], Encoding]] = {
    "pixels": lambda shape: Identity(),
    "one coil": lambda shape: Fourier(),
    "coils": lambda shape: Sense(maps(shape)),
}


def rows_of(given: Masked, count: int) -> list[Masked]:
    """The operator of each image of a batch."""

    def row(batch: Tensor, i: int) -> Tensor:
        return batch if len(batch) == 1 else batch[i : i + 1]

    def encoding(i: int) -> Encoding:
        return Sense(row(given.encoding.maps, i)) if isinstance(given.encoding, Sense) else given.encoding

    return [Masked(encoding(i), row(given.mask, i)) for i in range(count)]


@dataclass(frozen=True)
class GaussianPrior:
    """The exact conditional expectation E[x | Ãᴴỹ_σ] = (N + 2σ²Σ⁻¹)⁻¹ Ãᴴỹ_σ, as a prior."""

    covariance: Tensor

    def denoise(self, x_in: Tensor, sigma: Tensor, given: Masked) -> Tensor:
        shape = (int(x_in.shape[-2]), int(x_in.shape[-1]))
        basis = torch.eye(len(self.covariance), dtype=DOUBLE).reshape(-1, 1, *shape)
        precision = torch.linalg.inv(self.covariance)
        solved = []
        for image, level, operator in zip(x_in, sigma.double(), rows_of(given, len(x_in)), strict=True):
            matrix = operator.normal(basis).reshape(len(basis), -1).T + 2 * level.square() * precision
            solved.append(torch.linalg.solve(matrix, image.flatten().to(DOUBLE)))
        return torch.stack(solved).reshape(x_in.shape).to(x_in.dtype)


@dataclass(frozen=True)
class LinearPrior:
    """h = L Ãᴴỹ_σ: a model with nothing but the matrix `L` to learn, for one Ã and one σ."""

    matrix: Tensor

    def denoise(self, x_in: Tensor, sigma: Tensor, given: Masked) -> Tensor:
        return (x_in.flatten(1) @ self.matrix.T).reshape(x_in.shape)


def posterior_matrix(sigma: float, operator: Masked, prior: Tensor, shape: Shape) -> Tensor:
    """ΣÃᴴ(ÃΣÃᴴ + 2σ²I)⁻¹: what turns a measurement ỹ into the posterior mean, from the textbook."""
    forward = dense(operator, shape, DOUBLE)
    noise = 2 * sigma**2 * torch.eye(len(forward), dtype=DOUBLE)
    return prior @ forward.mH @ torch.linalg.inv(forward @ prior @ forward.mH + noise)


def exact_ensemble(dimension: int, seed: int = 0) -> Tensor:
    """As many vectors `(dimension, dimension)` whose second moment E[z zᴴ] is the identity exactly.

    The mean of a quadratic function over these few vectors is its expectation over white Gaussian
    vectors: no Monte-Carlo error.
    """
    rng = Generator().manual_seed(seed)
    unitary, _ = torch.linalg.qr(complex_normal(dimension, dimension, rng=rng, dtype=DOUBLE))
    return unitary * dimension**0.5

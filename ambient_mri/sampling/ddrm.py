"""Denoising diffusion restoration (Kawar et al. 2022): data consistency for each singular vector of A on its own.

η = .85 and η_b = 1 as published. One network evaluation a level, no backward pass.

The basis is that of AᴴA = V s² Vᴴ; the measured coefficients are ȳ = Vᴴ Aᴴ y / s², with noise σ_y / s. Masks after
a unitary encoding (pixels, one coil) have it for free. Lines with coils leave the rows of the image apart: one small
eigenproblem a row. Anything else has to be small enough for a dense one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import torch
from torch import Generator, Tensor

from ambient_mri.errors import InputError
from ambient_mri.operators import Encoding, Fourier, Identity
from ambient_mri.sampling.annealing import start
from ambient_mri.sampling.noise import noise_like
from ambient_mri.sampling.observation import Observation
from ambient_mri.sampling.proper import require_proper

ETA = 0.85
CORRECTIONS = 0
MOST_DENSE = 1024
SMALLEST = 1e-3  # s² below this share of an image's largest counts as 0


class Basis(Protocol):
    """Vᴴ, V, and s² in the shape of the coefficients (s² = 0: not measured)."""

    @property
    def squares(self) -> Tensor: ...
    def coefficients(self, x: Tensor) -> Tensor: ...
    def image(self, coefficients: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Unitary:
    """V = Eᴴ."""

    encoding: Encoding
    squares: Tensor

    def coefficients(self, x: Tensor) -> Tensor:
        return self.encoding.forward(x)

    def image(self, coefficients: Tensor) -> Tensor:
        return self.encoding.adjoint(coefficients)


@dataclass(frozen=True)
class Dense:
    """Matrices `vectors` `(b, r, n, n)` that act on images `(b, 1, y, x)` as r vectors of n each."""

    vectors: Tensor
    squares: Tensor

    def coefficients(self, x: Tensor) -> Tensor:
        return (x.reshape(*self.vectors.shape[:3], 1).mT.conj() @ self.vectors).mT.conj().reshape(x.shape)

    def image(self, coefficients: Tensor) -> Tensor:
        return (self.vectors @ coefficients.reshape(*self.vectors.shape[:3], 1)).reshape(coefficients.shape)


def singular_basis(observed: Observation) -> Basis:
    """The basis of the operator of every row of a batch.

    Raises
    ------
    InputError
        If the operator has no basis that can be afforded.
    """
    A, (rows, columns) = observed.A, observed.shape
    if isinstance(A.encoding, Identity | Fourier):
        return Unitary(A.encoding, A.mask.to(torch.float32).expand(len(observed), 1, rows, columns))
    apart = A.coils_of_lines is not None
    if not apart and rows * columns > MOST_DENSE:
        raise InputError(
            f"DDRM needs the singular vectors of the operator, and those of a {type(A.encoding).__name__} encoding "
            f"of {rows} x {columns} images cannot be afforded",
            where="ddrm", remedy="Use mmps, dds or dps, which only apply the operator",
        )  # fmt: skip
    size, groups = (columns, rows) if apart else (rows * columns, 1)
    matrices = []
    for i in range(len(observed)):
        one = observed[[i]].A
        # the k-th unit vector in every group at once: groups do not mix
        units = torch.eye(size, dtype=observed.y.dtype, device=observed.y.device)[:, None, :].expand(-1, groups, -1)
        images = torch.cat([one.normal(part) for part in units.reshape(size, 1, rows, columns).split(64)])
        matrices.append(images.reshape(size, groups, size).permute(1, 2, 0))
    normal = torch.stack(matrices)
    values, vectors = torch.linalg.eigh((normal + normal.mH) / 2)
    values = torch.where(values > SMALLEST * values.amax((1, 2), keepdim=True), values, 0.0)
    return Dense(vectors, values.reshape(len(observed), 1, rows, columns))


def ddrm(
    prior: object, observed: Observation, rngs: Sequence[Generator], levels: Sequence[float], *, strength: float = 1.0
) -> Tensor:
    """Posterior samples `(b, 1, y, x)`; see `mmps` for the other arguments.

    Parameters
    ----------
    strength
        Multiplies σ_y².

    Raises
    ------
    InputError
        If the prior is not proper, or the singular vectors of the operator cannot be afforded.
    """
    network = require_proper(prior, "ddrm")
    basis = singular_basis(observed)
    measured = basis.squares > 0
    squares = torch.where(measured, basis.squares, 1.0)
    seen = basis.coefficients(observed.A.adjoint(observed.y)) / squares
    spread = (strength * observed.variance / squares).sqrt()  # σ_y / s

    def coefficients_at(known: Tensor, now: Tensor, sigma: float, following: float, noise: Tensor) -> Tensor:
        """Equations 7 and 8 of the paper; `known` is E[x | x_t], `now` is x_t."""
        drift = (1 - ETA**2) ** 0.5 * following
        unseen = known + drift * (now - known) / sigma + ETA * following * noise
        quiet = known + drift * (seen - known) / spread + ETA * following * noise
        loud = seen + (following**2 - spread**2).clamp_min(0).sqrt() * noise
        return torch.where(measured, torch.where(spread > following, quiet, loud), unseen)

    with torch.no_grad():
        noise = basis.coefficients(start(observed, rngs, [1.0]))
        first = torch.where(
            measured, seen + (levels[0] ** 2 - spread**2).clamp_min(0).sqrt() * noise, levels[0] * noise
        )
        x = basis.image(first)
        for sigma, following in pairwise(levels):
            denoised = network.expect(x, torch.full((len(x),), sigma, device=x.device))
            draw = basis.coefficients(noise_like(x, rngs))
            x = basis.image(
                coefficients_at(basis.coefficients(denoised), basis.coefficients(x), sigma, following, draw)
            )
        return network.expect(x, torch.full((len(x),), levels[-1], device=x.device))

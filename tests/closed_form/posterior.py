"""Posterior distributions with known answers: images from a mixture of Gaussians, measured through any operator.

Σ_k is E[(x - m_k)(x - m_k)ᴴ]; σ per real component is the complex variance 2σ². One component is a Gaussian.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from ambient_mri.operators import Identity, Masked, Sense
from ambient_mri.sampling.annealing import schedule
from ambient_mri.sampling.ensemble import Sampler
from ambient_mri.sampling.observation import Observation
from ambient_mri.sampling.proper import Ambient
from tests.closed_form.gaussian import DOUBLE, covariance, maps
from tests.laws.expectation import generators
from tests.laws.operators import complex_normal, dense

Shape = tuple[int, int]


@dataclass(frozen=True)
class Mixture:
    """Σ_k w_k CN(m_k, Σ_k): `weights` `(k,)`, `means` `(k, n)`, `covariances` `(k, n, n)`. A proper prior."""

    weights: Tensor
    means: Tensor
    covariances: Tensor

    def draw(self, count: int, rng: Generator) -> Tensor:
        """`(count, n)` complex128."""
        which = torch.multinomial(self.weights, count, replacement=True, generator=rng)
        white = complex_normal(count, self.means.shape[1], rng=rng, dtype=DOUBLE) / 2**0.5
        return self.means[which] + (torch.linalg.cholesky(self.covariances)[which] @ white[..., None])[..., 0]

    def given(self, forward: Tensor, noise_std: float, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of x given y = `forward` x + noise, for `y` `(b, m)`: weights `(b, k)`, means `(b, k, n)`, covariances."""
        noise = 2 * noise_std**2 * torch.eye(len(forward), dtype=DOUBLE)
        innovation = forward @ self.covariances @ forward.mH + noise
        gain = self.covariances @ forward.mH @ torch.linalg.inv(innovation)
        off = y[:, None] - self.means @ forward.T
        means = self.means + (gain @ off[..., None])[..., 0]
        distance = (off.conj() * torch.linalg.solve(innovation, off[..., None])[..., 0]).real.sum(-1)
        score = self.weights.log() - distance - torch.linalg.slogdet(innovation).logabsdet
        return score.softmax(-1), means, self.covariances - gain @ forward @ self.covariances

    def expect(self, x: Tensor, sigma: Tensor) -> Tensor:
        """E[x | x_t]."""
        eye = torch.eye(self.means.shape[1], dtype=DOUBLE)
        weights, means, _ = self.given(eye, float(sigma[0]), x.flatten(1).to(DOUBLE))
        return (weights[..., None] * means).sum(1).reshape(x.shape).to(x.dtype)

    def denoise(self, x_in: Tensor, sigma: Tensor, given: Masked) -> Tensor:
        """The ambient prior of an Ã that shows everything."""
        assert bool(given.mask.all())
        assert isinstance(given.encoding, Identity)
        return self.expect(x_in, sigma)


def smooth(shape: Shape, correlation: float = 0.95, size: float = 0.5) -> Mixture:
    """A Gaussian with σ_d² = `size`/2 per real component, neighbours correlated."""
    return Mixture(
        torch.ones(1, dtype=torch.float64), torch.zeros(1, shape[0] * shape[1], dtype=DOUBLE),
        covariance(shape, correlation, size)[None],
    )  # fmt: skip


def everything(observed: Observation, rngs: Sequence[Generator]) -> Masked:
    """Ã that shows all pixels."""
    return Masked(Identity(), torch.ones(len(rngs), 1, *observed.shape, dtype=torch.bool))


def as_ambient(prior: Mixture) -> Ambient:
    return Ambient(prior, everything)


def mixture(shape: Shape) -> Mixture:
    """Three kinds of images that differ in size and smoothness, with means about half a standard deviation apart."""
    covariances = [covariance(shape, rho, size) for rho, size in ((0.95, 0.4), (0.8, 0.2), (0.95, 0.1))]
    means = 0.3 * complex_normal(3, 1, rng=Generator().manual_seed(4), dtype=DOUBLE)
    weights = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    return Mixture(weights, means.expand(3, shape[0] * shape[1]), torch.stack(covariances))


@dataclass(frozen=True)
class Figures:
    """Error of the posterior mean over its size, trace of the covariance over the true one, residual over σ_y."""

    mean: float
    trace: float
    residual: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} / {self.trace:.2f} / {self.residual:.2f}"


@dataclass(frozen=True)
class Problem:
    """Scans of images of `prior` through the operator A of one scan (a mask with batch size 1)."""

    prior: Mixture
    A: Masked
    shape: Shape
    noise_std: float
    scans: int = 30
    chains: int = 40

    def observe(self) -> tuple[Observation, Tensor]:
        """The measurements, unmeasured samples NaN; and y as `(scans, m)` of measured samples and zeros."""
        rng = Generator().manual_seed(0)
        x = self.prior.draw(self.scans, rng).reshape(-1, 1, *self.shape)
        full = self.A.encoding.forward(x)
        y = full + self.noise_std * complex_normal(*full.shape, rng=rng, dtype=DOUBLE)
        y = torch.where(self.A.mask, y, torch.nan)
        maps = self.A.encoding.maps if isinstance(self.A.encoding, Sense) else None
        single = self.A if maps is None else Masked(Sense(maps.to(torch.complex64)), self.A.mask)
        noise_std = torch.full((self.scans,), self.noise_std)
        observed = Observation(single, y.to(torch.complex64), noise_std, self.shape)
        return observed, torch.where(self.A.mask, y, 0).flatten(1)

    def sample(self, sampler: Sampler, prior: object, levels: Sequence[float], strength: float = 1.0) -> Tensor:
        """`(scans, chains, n)` complex128."""
        observed, _ = self.observe()
        rows = [row for row in range(self.scans) for _ in range(self.chains)]
        x = sampler(prior, observed[rows], generators(3, len(rows)), levels, strength=strength)
        return x.reshape(self.scans, self.chains, -1).to(DOUBLE)

    def figures(self, sampler: Sampler, prior: object, levels: Sequence[float], strength: float = 1.0) -> Figures:
        """What the finite number of chains adds to the squared error of the mean is subtracted."""
        x = self.sample(sampler, prior, levels, strength)
        _, y = self.observe()
        forward = dense(self.A, self.shape, DOUBLE)
        weights, means, covariances = self.prior.given(forward, self.noise_std, y)
        mean = (weights[..., None] * means).sum(1)
        inside = (weights * covariances.diagonal(dim1=-2, dim2=-1).real.sum(-1)).sum(1)
        between = (weights * (means - mean[:, None]).abs().square().sum(-1)).sum(1)
        spread = (x - x.mean(1, keepdim=True)).abs().square().sum((1, 2)) / (self.chains - 1)
        error = (x.mean(1) - mean).abs().square().sum(1) - spread / self.chains
        residual = (x @ forward.T - y[:, None]).abs().square().sum() / (x.shape[0] * x.shape[1])
        measured = int((forward.abs().sum(1) > 0).sum())
        return Figures(
            float(error.sum().clamp_min(0).sqrt() / mean.norm()),
            float(spread.sum() / (inside + between).sum()),
            float((residual / (2 * measured)).sqrt()) / self.noise_std,
        )

    def levels(self, nfe: int, corrections: int) -> list[float]:
        return schedule(nfe, self.noise_std / 4, corrections=corrections, high=5.0)


def pixels(prior: Mixture, noise_std: float = 0.025) -> Problem:
    """n = 16, every fourth pixel measured, σ_y = .05 in units of the image's standard deviation."""
    mask = torch.zeros(1, 1, 1, 16, dtype=torch.bool)
    mask[..., ::4] = True
    return Problem(prior, Masked(Identity(), mask), (1, 16), noise_std)


def coils(prior: Mixture, noise_std: float = 0.025) -> Problem:
    """2 x 8 images, two coils, three of eight lines."""
    mask = torch.tensor([0, 1, 0, 1, 1, 0, 0, 0], dtype=torch.bool).reshape(1, 1, 1, 8)
    return Problem(prior, Masked(Sense(maps((2, 8))), mask), (2, 8), noise_std)


PROBLEMS = {
    "pixels, Gaussian": pixels(smooth((1, 16))),
    "coils, Gaussian": coils(smooth((2, 8))),
    "pixels, mixture": pixels(mixture((1, 16))),
    "coils, mixture": coils(mixture((2, 8))),
}

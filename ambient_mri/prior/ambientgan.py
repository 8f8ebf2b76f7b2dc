"""AmbientGAN (Bora, Price, Dimakis 2018): a generator whose *measurements* a critic cannot tell from real ones.

A latent becomes an image, the image a measurement under a random A of the training's law and its noise; the critic sees
Aᴴy and the mask, never an image. Here the A of a generated image is that of a real scan of the same batch: a draw from
the law of masks and coil maps alike, also where nobody could write that law down.

Kept stable by the non-saturating logistic loss with a penalty on the critic's gradient at real data (R1, Mescheder et
al. 2018), applied every few steps, and by averaging the generator's weights.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from ambient_mri.measurement import DATA_STD, Measurement
from ambient_mri.operators import Masked, keep
from ambient_mri.prior.learner import Learner
from ambient_mri.prior.preconditioning import mask_channel
from ambient_mri.prior.steps import Draw
from ambient_mri.randomness import stream

LATENT = 64
WIDTHS = {"tiny": 184, "small": 232, "deep": 312, "base": 584}
"""Widest layer: generator and critic together have about as many parameters as the diffusion network of the preset."""
LEVELS = 3
RATE, BETAS = 5e-4, (0.0, 0.99)
PENALTY, PENALTY_STEPS = 1.0, 4
"""γ of R1, and how often it is applied (with as much more weight)."""


class ImageGenerator(nn.Module):
    """Latents `(b, 64)` to images `(b, 1, y, x)` complex64, by convolutions on a grid that doubles three times."""

    def __init__(self, width: int, shape: tuple[int, int]) -> None:
        super().__init__()
        self.shape = shape
        self.grid = tuple(-(-side // 2**LEVELS) for side in shape)
        widths = [width // 2 ** max(level - 1, 0) for level in range(LEVELS + 1)]
        self.first = nn.Linear(LATENT, widths[0] * self.grid[0] * self.grid[1])
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Upsample(scale_factor=2), nn.Conv2d(a, b, 3, padding=1), nn.GroupNorm(1, b), nn.SiLU(),
                          nn.Conv2d(b, b, 3, padding=1), nn.SiLU())
            for a, b in pairwise(widths)
        )  # fmt: skip
        self.last = nn.Conv2d(widths[-1], 2, 3, padding=1)

    def forward(self, latents: Tensor) -> Tensor:
        hidden = self.first(latents).unflatten(1, (-1, *self.grid))
        for block in self.blocks:
            hidden = block(hidden)
        planes = DATA_STD * self.last(hidden)[..., : self.shape[0], : self.shape[1]]
        return torch.complex(planes[:, :1], planes[:, 1:])

    def draw(self, rngs: Sequence[torch.Generator]) -> Tensor:
        """One image a generator of randomness, `(b, 1, y, x)`."""
        latents = torch.stack([torch.randn(LATENT, generator=rng) for rng in rngs])
        images: Tensor = self(latents.to(self.last.weight.device))
        return images


class Critic(nn.Module):
    """How real measurements look, `(b,)`: convolutions on Re and Im of Aᴴy and the mask.

    It also sees how much the batch varies, so that a generator of one image gives itself away (Karras et al. 2018).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        widths = [3, *(width // 2 ** (LEVELS - 1 - level) for level in range(LEVELS))]
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, padding=1), nn.LeakyReLU(0.2), nn.Conv2d(b, b, 3, padding=1),
                          nn.LeakyReLU(0.2), nn.AvgPool2d(2, ceil_mode=True))
            for a, b in pairwise(widths)
        )  # fmt: skip
        self.last = nn.Linear(widths[-1] + 1, 1)

    def forward(self, planes: Tensor) -> Tensor:
        for block in self.blocks:
            planes = block(planes)
        features = planes.mean((2, 3))
        spread = (features.var(0, correction=0) + 1e-8).sqrt().mean().expand(len(features), 1)
        score: Tensor = self.last(torch.cat([features, spread], 1))[:, 0]
        return score


class Adversaries(nn.Module):
    """Generator and critic of a preset for images of a shape, with weights from `seed`."""

    def __init__(self, preset: str, shape: tuple[int, int], seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.generator, self.critic = ImageGenerator(WIDTHS[preset], shape), Critic(WIDTHS[preset])


def seen(A: Masked, y: Tensor) -> Tensor:
    """What the critic is shown of measurements y, `(b, 3, y, x)`: Aᴴy in units of an image, and the mask."""
    image = A.adjoint(y)
    return torch.cat([image.real / DATA_STD, image.imag / DATA_STD, mask_channel(A, image)], 1)


@dataclass
class AdversarialLearner(Learner):
    """The state of an AmbientGAN training; both networks take their steps at the same time."""

    network: Adversaries  # type: ignore[assignment]
    average: Adversaries  # type: ignore[assignment]
    seed: int = 0

    @classmethod
    def begin(cls, network: Adversaries, seed: int) -> AdversarialLearner:
        optimiser = torch.optim.AdamW(network.parameters(), lr=RATE, betas=BETAS, weight_decay=0.0)
        average = copy.deepcopy(network).eval().requires_grad_(False)
        return cls(network, average, (optimiser,), torch.float32, seed=seed)

    def update(self, measurement: Measurement, draw: Draw, progress: float) -> float:
        """One step on a batch; returns the critic's loss (2 ln 2 where it cannot tell). `progress` is not used.

        Raises
        ------
        FloatingPointError
            If a loss is not finite: weights and averages are left as they were.
        """
        A, generator, critic = measurement.operator(), self.network.generator, self.network.critic
        rngs = [stream(self.seed, "latents", self.step, i) for i in range(len(measurement))]
        noise = measurement.noise_std[:, None, None, None] * draw.noise
        fake = seen(A, keep(A.mask, A.forward(generator.draw(rngs)) + noise))
        real = seen(A, measurement.y).requires_grad_()

        judged = critic(real)
        critic_loss = nn.functional.softplus(critic(fake.detach())).mean() + nn.functional.softplus(-judged).mean()
        total = critic_loss
        if self.step % PENALTY_STEPS == 0:
            (slope,) = torch.autograd.grad(judged.sum(), real, create_graph=True)
            total = total + PENALTY_STEPS * PENALTY / 2 * slope.square().sum((1, 2, 3)).mean()
        generator_loss = nn.functional.softplus(-critic(fake)).mean()
        if not bool(torch.isfinite(total + generator_loss)):
            raise FloatingPointError(f"the loss became {float(total)}, {float(generator_loss)} at step {self.step}")
        for part, loss in ((critic, total), (generator, generator_loss)):
            parameters = list(part.parameters())
            for parameter, slope in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                parameter.grad = slope
        for optimiser in self.optimisers:
            optimiser.step()
        self.step += 1
        self._follow()
        return float(critic_loss.detach())

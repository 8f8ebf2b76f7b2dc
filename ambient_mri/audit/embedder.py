"""Features in which two pictures of one slice are near: a small network trained on the cohort itself.

It is trained on training and hold-out patients alike, without knowing who is who: an embedder that knew the training
patients better would find them more often, copied or not. Nothing is downloaded.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.nn import functional

from ambient_mri import files
from ambient_mri.audit.augmentation import random_view
from ambient_mri.audit.search import Features, unit
from ambient_mri.errors import InputError
from ambient_mri.randomness import stream

DIMENSIONS, TEMPERATURE, BATCH = 128, 0.07, 96
SIZE = 64
WIDTHS = (32, 64, 128, 192)


class Embedder(nn.Module):
    """About 1.2 million parameters: four strided convolutions, two residual blocks, 128 unit features."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for inward, outward in zip((1, *WIDTHS[:-1]), WIDTHS, strict=True):
            layers += [nn.Conv2d(inward, outward, 3, 2, 1, bias=False), nn.GroupNorm(8, outward), nn.GELU()]
        self.trunk = nn.Sequential(*layers)
        self.mixed = nn.Conv2d(WIDTHS[-1], WIDTHS[-1], 3, 1, 1)
        side = SIZE // 2 ** len(WIDTHS)
        self.head = nn.Linear(WIDTHS[-1] * side * side, DIMENSIONS, bias=False)
        # what all pictures share is taken off, or all start near each other and training begins with a plateau
        self.centred = nn.BatchNorm1d(DIMENSIONS, affine=False)

    def forward(self, pictures: Tensor) -> Tensor:
        """`(b, 128)` of length 1. Pictures of any size are brought to 64 x 64 and to mean 0, standard deviation 1."""
        maps = self.trunk(normalised(pictures))
        maps = maps + functional.gelu(self.mixed(maps))
        return functional.normalize(self.centred(self.head(maps.flatten(1))), dim=1)


def normalised(pictures: Tensor) -> Tensor:
    """To 64 x 64, mean 0 and standard deviation 1: scale and offset tell nothing about whose picture it is."""
    if tuple(pictures.shape[-2:]) != (SIZE, SIZE):
        pictures = functional.interpolate(pictures, size=(SIZE, SIZE), mode="area")
    pictures = pictures - pictures.mean((1, 2, 3), keepdim=True)
    return pictures / pictures.std((1, 2, 3), keepdim=True).clamp_min(1e-6)


def build(seed: int) -> Embedder:
    """An untrained network; the global random state is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Embedder()


def contrastive_loss(first: Tensor, second: Tensor) -> Tensor:
    """NT-Xent (Chen et al. 2020, eq. 1) at τ = .07: row i of both views is the pair, all other rows are negatives.

    Neighbouring slices of a patient are negatives like others, and the hardest.
    """
    both = torch.cat([first, second])
    itself = torch.eye(len(both), dtype=torch.bool, device=both.device)
    pair = torch.arange(len(both), device=both.device).roll(len(first))
    return functional.cross_entropy((both @ both.T / TEMPERATURE).masked_fill(itself, -torch.inf), pair)


@dataclass(frozen=True)
class Training:
    """Length and seed of a training of the embedder."""

    steps: int
    seed: int
    peak_rate: float = 2e-3

    def rate(self, step: int) -> float:
        """Warm-up over a tenth, then a half cosine."""
        progress = step / self.steps
        return self.peak_rate * min(10 * progress + 0.05, 0.5 * (1 + math.cos(math.pi * progress)))


def train(
    pictures: Tensor, plan: Training, device: str = "cpu",
    progress: Callable[[int, float], None] = lambda step, loss: None,
) -> Embedder:  # fmt: skip
    """Learn from slices of training and hold-out pooled; who is who does not enter.

    Parameters
    ----------
    pictures
        `(views, n, 1, y, x)`: n slices, each in one or several views (under other masks) that count as the same.
    progress
        Called with every step and its loss.
    """
    network = build(plan.seed).to(device)
    optimiser = torch.optim.AdamW(network.parameters(), lr=plan.peak_rate, weight_decay=1e-4)
    for step in range(plan.steps):
        rng = stream(plan.seed, "embedder", step)
        rows = torch.randperm(pictures.shape[1], generator=rng)[:BATCH]
        views = []
        for _ in range(2):
            which = torch.randint(len(pictures), (len(rows),), generator=rng)
            views.append(random_view(pictures[which, rows], rng).to(device))
        for group in optimiser.param_groups:
            group["lr"] = plan.rate(step)
        loss = contrastive_loss(network(views[0]), network(views[1]))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        optimiser.step()
        progress(step, float(loss.detach()))
    return network.eval().requires_grad_(False)


@torch.inference_mode()
def embed(network: Embedder, pictures: Tensor, batch: int = 256) -> Features:
    """Unit features `(n, 128)` of pictures `(n, 1, y, x)`."""
    device = next(network.parameters()).device
    parts = [network(part.to(device)).cpu() for part in pictures.split(batch)]
    return unit(torch.cat(parts).numpy()) if parts else np.zeros((0, DIMENSIONS), np.float32)


def save_embedder(path: Path, network: Embedder) -> Path:
    """Weights as safetensors."""
    return files.write(path, save({name: value.contiguous() for name, value in network.state_dict().items()}))


def load_embedder(path: Path) -> Embedder:
    """What `save_embedder` wrote.

    Raises
    ------
    InputError
        If it is damaged or of another network.
    """
    network = build(0)
    try:
        network.load_state_dict(load_file(path))
    except (SafetensorError, RuntimeError, OSError) as problem:
        remedy = "Delete it, and the next run trains it anew"
        raise InputError("the embedder's weights cannot be used", where=str(path), remedy=remedy) from problem
    return network.eval().requires_grad_(False)

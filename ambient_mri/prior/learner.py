"""The state of a training and its one update: network, averaged network, optimisers, step, time spent."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ambient_mri.measurement import Measurement
from ambient_mri.prior.muon import Muon
from ambient_mri.prior.network import Cascade
from ambient_mri.prior.objective import ambient_loss
from ambient_mri.prior.preconditioning import AmbientPrior
from ambient_mri.prior.steps import Draw

PEAK_RATE, FINAL_RATE, WARM_UP_STEPS = 1e-3, 1e-5, 100
AVERAGE_EXPONENT = 12.0
"""γ of the power-law average of weights, about the last 7 % of the run (Karras et al. 2024, eq. 1)."""


@dataclass(frozen=True)
class Length:
    """When a training ends: after `minutes` of it, over all resumes, or after `steps`, whichever comes first."""

    minutes: float | None = None
    steps: int | None = None

    @classmethod
    def of(cls, minutes: float | None, steps: int | None, default: float) -> Length:
        """What was asked for; `default` minutes where nothing was."""
        return cls(default if minutes is None and steps is None else minutes, steps)

    def progress(self, learner: Learner) -> float:
        """Share that is done."""
        by_time = learner.seconds / (60 * self.minutes) if self.minutes is not None else 0.0
        return max(by_time, learner.step / self.steps if self.steps is not None else 0.0)

    def __str__(self) -> str:
        limits = [f"{self.minutes:g} minutes"] if self.minutes is not None else []
        return " or ".join(limits + ([f"{self.steps} steps"] if self.steps is not None else []))


@dataclass
class Learner:
    """Mutable state of a training.

    `network` is what gradients change (wrapped for data-parallel runs), `average` what is used; `peak_rate` is the
    learning rate after the warm-up.
    """

    network: Cascade | nn.parallel.DistributedDataParallel
    average: Cascade
    optimisers: tuple[torch.optim.Optimizer, ...]
    precision: torch.dtype
    peak_rate: float = PEAK_RATE
    step: int = 0
    seconds: float = 0.0

    @classmethod
    def start(cls, network: Cascade, precision: torch.dtype, peak_rate: float = PEAK_RATE) -> Learner:
        inner = {id(weight) for weight in network.inner_matrices()}
        others = [weight for weight in network.parameters() if id(weight) not in inner]
        optimisers = (
            Muon(network.inner_matrices(), lr=peak_rate),
            torch.optim.AdamW(others, lr=peak_rate, betas=(0.9, 0.99), weight_decay=1e-3, fused=True),
        )
        average = copy.deepcopy(network).eval().requires_grad_(False)
        return cls(network, average, optimisers, precision, peak_rate)

    @property
    def prior(self) -> AmbientPrior:
        """The prior of the averaged weights."""
        return AmbientPrior(self.average, self.precision)

    @property
    def trained(self) -> nn.Module:
        """`network` without the wrapper of data-parallel runs."""
        return self.network.module if isinstance(self.network, nn.parallel.DistributedDataParallel) else self.network

    def update(self, measurement: Measurement, draw: Draw, progress: float) -> float:
        """One step on a batch; returns the mean loss. `progress` in [0, 1] sets the learning rate.

        Raises
        ------
        FloatingPointError
            If the loss is not finite: weights and averages are left as they were.
        """
        self.network.train()
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = self.rate(progress)
        training = AmbientPrior(self.network, self.precision)
        loss = ambient_loss(
            training, measurement.y, measurement.operator(), draw.further, draw.sigma, measurement.noise_std, draw.noise
        ).mean()
        if not bool(torch.isfinite(loss)):
            raise FloatingPointError(f"the loss became {float(loss)} at step {self.step}")
        self.network.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        for optimiser in self.optimisers:
            optimiser.step()
        self.step += 1
        self._follow()
        return float(loss.detach())

    def rate(self, progress: float) -> float:
        """Linear warm-up, then a half cosine over the run."""
        final = min(FINAL_RATE, self.peak_rate)
        decayed = final + (self.peak_rate - final) * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
        return decayed * min(1.0, (self.step + 1) / WARM_UP_STEPS)

    @torch.no_grad()
    def _follow(self) -> None:
        share = 1 - (1 - 1 / self.step) ** (AVERAGE_EXPONENT + 1)
        torch._foreach_lerp_(list(self.average.parameters()), list(self.trained.parameters()), share)

    def tensors(self) -> dict[str, Tensor]:
        """Everything that a resumed training needs, by name."""
        state = {f"network.{name}": value for name, value in self.trained.state_dict().items()}
        state |= {f"average.{name}": value for name, value in self.average.state_dict().items()}
        for k, optimiser in enumerate(self.optimisers):
            for index, entries in optimiser.state_dict()["state"].items():
                state |= {f"optimiser.{k}.{index}.{name}": value for name, value in entries.items()}
        state["seconds"] = torch.tensor(self.seconds, dtype=torch.float64)
        state["step"] = torch.tensor(self.step)
        return state

    def restore(self, state: dict[str, Tensor]) -> None:
        """Continue from `tensors()` of an earlier process."""

        def part(prefix: str) -> dict[str, Tensor]:
            return {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}

        self.network.load_state_dict(part("network."))
        self.average.load_state_dict(part("average."))
        for k, optimiser in enumerate(self.optimisers):
            entries: dict[int, dict[str, Tensor]] = {}
            for name, value in part(f"optimiser.{k}.").items():
                index, entry = name.split(".", 1)
                entries.setdefault(int(index), {})[entry] = value
            groups = optimiser.state_dict()["param_groups"]
            optimiser.load_state_dict({"state": entries, "param_groups": groups})
        self.step, self.seconds = int(state["step"]), float(state["seconds"])

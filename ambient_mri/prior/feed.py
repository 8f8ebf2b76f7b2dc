"""What one update learns from: scans, D, noise levels and noise, made in place or ahead of it by worker processes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ambient_mri.corruption import Further, FurtherLaw
from ambient_mri.data.dataset import Scans
from ambient_mri.errors import InputError
from ambient_mri.measurement import Measurement, collate
from ambient_mri.operators import Masked
from ambient_mri.prior.preconditioning import LOWEST_SIGMA
from ambient_mri.prior.steps import Batches, Draw, Place, draw
from ambient_mri.prior.symmetry import move

MOST_WORKERS = 8


@dataclass(frozen=True)
class Prepared(Dataset[Any]):
    """The batches of a training as a function of the places in it: any process makes the same ones."""

    scans: Scans
    law: FurtherLaw
    seed: int
    method: str

    def __getitems__(self, places: Sequence[Place]) -> tuple[Measurement, Draw] | InputError | OSError:
        """The batch of these places. What a scan is refused for is handed on: torch would wrap it in a trace."""
        rngs = [place.stream(self.seed) for place in places]
        try:
            batch = collate([self.scans[place.scan] for place in places])
        except (InputError, OSError) as problem:
            return problem
        drawn = compared(draw(batch, self.law, rngs), batch, self.method)
        symmetry = self.scans.spec.symmetry
        return (batch, drawn) if symmetry is None else move(batch, drawn, symmetry, rngs)


def feed(prepared: Prepared, batches: Batches, workers: int, device: str) -> Iterator[tuple[Measurement, Draw]]:
    """The batches one after another on `device`, without end; `workers` = 0 makes each when it is asked for.

    Raises
    ------
    InputError, OSError
        If a scan cannot be used or read, or a worker was killed.
    """
    loader: DataLoader[Any] = DataLoader(prepared, batch_sampler=batches, collate_fn=_as_it_is, num_workers=workers)
    made = iter(loader)
    while True:
        try:
            batch = next(made)
        except RuntimeError as problem:
            if "DataLoader worker" not in str(problem):
                raise
            raise InputError(
                "a worker that prepares batches was killed, perhaps of memory", where="--workers",
                remedy="Use fewer; the same command goes on from the last checkpoint",
            ) from None  # fmt: skip
        if isinstance(batch, Exception):
            raise batch
        yield there(device, *batch)


def default_workers(device: str) -> int:
    """None on a processor, where the network needs all cores; beside a GPU those that are free."""
    return 0 if device == "cpu" else min(MOST_WORKERS, (os.cpu_count() or 1) - 1)


def compared(drawn: Draw, measurement: Measurement, method: str) -> Draw:
    """The draw as it is, or what the methods that serve for comparison make of it."""
    if method == "ambient":
        return drawn
    if method == "ssdu":
        # Judged on what D hid and on nothing else: at σ_y what it showed has no weight, but σ may not be 0.
        shown, weight = drawn.further.operator, drawn.further.weight
        hidden = Further(shown, weight.masked_fill(shown.mask, 0.0))
        return replace(drawn, further=hidden, sigma=measurement.noise_std.clamp_min(LOWEST_SIGMA))
    everything = measurement.mask.to(torch.float32)
    if method == "unweighted":
        return replace(drawn, further=Further(drawn.further.operator, everything))
    # Without D the samples at σ_y would carry no loss at all: the least level is where noise was at least doubled.
    least = measurement.noise_std * 2**0.5
    return replace(drawn, further=Further(measurement.operator(), everything), sigma=torch.maximum(drawn.sigma, least))


def _as_it_is(batch: Any) -> Any:
    return batch


def there(device: str, measurement: Measurement, drawn: Draw) -> tuple[Measurement, Draw]:
    """Moved to the device; the maps once, for A and Ã share them."""

    def on(value: Tensor) -> Tensor:
        return value.to(device)

    moved, further = measurement.to(device), drawn.further
    shown = Masked(moved.encoding(), on(further.operator.mask))
    return moved, Draw(Further(shown, on(further.weight)), on(drawn.sigma), on(drawn.noise))

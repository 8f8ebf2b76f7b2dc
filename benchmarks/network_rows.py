"""Rows about the network: a training step, an evaluation, and reconstruction around it."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator

import torch
from classical_rows import synthetic
from network_works import BATCH, PRESET, our_training
from peers import Result, compare, relative, same
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

SIZE = 64
"""Of the slices of `brain_demo`."""


def network(given: argparse.Namespace) -> Iterator[Result]:
    """A whole training step beside the bare loop in float32; an evaluation in the precision that users get."""
    inputs = {"size": torch.tensor(SIZE), "slices": torch.tensor(8 if given.small else 64)}
    work = f"a training step, {PRESET}, {BATCH} × {SIZE}², 4 coils, everything included"
    step = compare(work, "training", inputs, ["plain float32"], same(1), given.repeats)
    step.notes["convolutions"] = _of_the_peak(inputs)
    yield step
    count, size = (2, 32) if given.small else (4, 128)
    scans = synthetic(count, size, 4)
    work = f"a network evaluation, {count} × {size}²"
    yield compare(work, "evaluation", {"x": scans["x"], "mask": scans["mask"]}, ["plain float32"], relative(1e-2),
                  given.repeats)  # fmt: skip


def reconstruction(given: argparse.Namespace) -> Iterator[Result]:
    """One step and data consistency beside the network's layers alone; `reconstruct` beside a loop of one's own."""
    size, coils, slices = (32, 2, 4) if given.small else (320, 8, 24)
    scans = synthetic(1, size, coils)
    work = f"one step with data consistency, {coils} coils {size}²"
    yield compare(work, "one-step", scans, ["network alone"], relative(1e-6), given.repeats)
    volume = synthetic(slices, size, coils)
    one_mask = _of_one_mask(volume)
    work = f"reconstruct, {slices} slices, {coils} coils {size}², from file to files"
    yield compare(work, "volume", one_mask, ["plain loop"], relative(2e-2), min(given.repeats, 3))


def _of_one_mask(volume: dict[str, Tensor]) -> dict[str, Tensor]:
    """Slices measured again under the mask of the first, as a scanner does."""
    from ambient_mri.operators import Masked, Sense

    A = Masked(Sense(volume["maps"]), volume["mask"][:1])
    rng = torch.Generator().manual_seed(0)
    noise = 0.01 * torch.randn(*volume["y"].shape, dtype=torch.complex64, generator=rng)
    return {"y": A.forward(volume["x"]) + volume["mask"][:1] * noise, "mask": volume["mask"][:1],
            "noise": torch.tensor(0.01 / 2**0.5)}  # fmt: skip


def _of_the_peak(inputs: dict[str, Tensor]) -> str:
    """How fast the convolutions of a training step are beside one large one, in the same precision."""
    with torch.no_grad():
        run = our_training(inputs)
        run()
        with FlopCounterMode(display=False) as counter:
            run()
        with profile(activities=[ProfilerActivity.CPU]) as seen:
            run()
    flops = sum(count for op, count in counter.get_flop_counts()["Global"].items() if "convolution" in str(op))
    seconds = sum(event.self_cpu_time_total for event in seen.key_averages() if "convolution" in event.key) / 1e6
    from ambient_mri.prior.network import has_bfloat16

    precision = torch.bfloat16 if has_bfloat16("cpu") else torch.float32
    layer, image = nn.Conv2d(256, 256, 3, padding=1).to(precision), torch.randn(BATCH, 256, 64, 64).to(precision)
    with torch.inference_mode():
        layer(image)
        before = time.process_time()
        for _ in range(3):
            layer(image)
    peak = 3 * 2 * image.numel() * 256 * 9 / (time.process_time() - before)
    return f"{flops / seconds / 1e9:.0f} of {peak / 1e9:.0f} GFLOP/s, {flops / seconds / peak:.0%}"

"""Arithmetic of one slice, counted and not timed: the network's forward pass and training step, and CG-SENSE.

python benchmarks/arithmetic.py --preset base --size 320 --coils 16
"""

from __future__ import annotations

import argparse
import math
import sys

import torch
from torch.utils.flop_counter import FlopCounterMode

from ambient_mri.prior.network import INPUT_CHANNELS, PRESETS, architecture, build_network


def network(preset: str, size: int) -> tuple[float, float, int]:
    """GFLOP of a forward pass and of a training step, and parameters; on tensors that hold no numbers."""
    sizes = architecture(preset)
    net, folded = build_network(sizes).to("meta"), size // sizes.patch
    planes = torch.empty(1, INPUT_CHANNELS * sizes.patch**2, folded, folded, device="meta")
    steps = torch.empty(1, device="meta")
    forward, step = FlopCounterMode(display=False), FlopCounterMode(display=False)
    with forward, torch.no_grad():
        for stage in net.stages:
            stage(planes, steps)
    with step:
        for stage in net.stages:
            stage(planes, steps).sum().backward()
    return forward.get_total_flops() / 1e9, step.get_total_flops() / 1e9, sum(p.numel() for p in net.parameters())


def cg_sense(size: int, coils: int, iterations: int) -> tuple[float, float]:
    """GFLOP, and GB moved where nothing stays in a cache: two 1-D transforms of 5 n log₂ n, two products, mask, sum."""
    samples = iterations * coils * size * size
    return samples * (10 * math.log2(size) + 16) / 1e9, 8 * 8 * samples / 1e9


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--preset", choices=tuple(PRESETS), default="base")
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--coils", type=int, default=16)
    parser.add_argument("--iterations", type=int, default=30)
    given = parser.parse_args()
    forward, step, parameters = network(given.preset, given.size)
    flops, moved = cg_sense(given.size, given.coils, given.iterations)
    sys.stdout.write(
        f"{given.preset} at {given.size}²: {parameters / 1e6:.1f} M parameters, forward {forward:.0f} GFLOP, "
        f"training step {step:.0f} GFLOP\n"
        f"CG-SENSE, {given.iterations} iterations, {given.coils} coils: {flops:.1f} GFLOP, {moved:.1f} GB moved\n"
    )


if __name__ == "__main__":
    main()

"""Rows about operators and classical methods, beside sigpy, deepinv, mrpro, bartorch and BART."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
import torch
from peers import Result, compare, correlated, no_worse, relative
from side_by_side import scans
from torch import Tensor

from ambient_mri.data.cohort import subject
from ambient_mri.operators import Masked, Sense

RIDGE, SPARSITY = 0.03, 0.003


def synthetic(count: int, size: int, coils: int, *, lines: bool = True) -> dict[str, Tensor]:
    scan = scans(count, size, coils)
    assert scan.sensitivity_maps is not None
    mask = scan.mask
    if not lines:
        mask = torch.rand(count, 1, size, size, generator=torch.Generator().manual_seed(0)) < 0.25
    A = Masked(Sense(scan.sensitivity_maps), mask)
    y = scan.without_unmeasured().y if lines else A.forward(scan.adjoint())
    return {"maps": scan.sensitivity_maps, "mask": mask, "y": y, "x": A.adjoint(y)}


def normal(given: argparse.Namespace) -> Iterator[Result]:
    """Normal operator of line masks and of masks of points, beside two bare FFTs of the coil images too."""
    peers = ["sigpy", "deepinv", "mrpro", "bartorch"]
    for count, size, coils in given.operator_sizes:
        for lines in (True, False):
            inputs = synthetic(count, size, coils, lines=lines)
            inputs.pop("y")
            name = f"normal operator, {'lines' if lines else 'points'}, {count} × {coils} coils {size}²"
            yield compare(name, "normal", inputs, [*given.known(peers), "two bare FFTs"], relative(1e-5), given.repeats)


def cg(given: argparse.Namespace) -> Iterator[Result]:
    """30 iterations for peers; ours stops by its residual, at a solution within 1e-4 of theirs."""
    for count, size, coils in given.solver_sizes:
        inputs = synthetic(count, size, coils) | {"lam": torch.tensor(RIDGE)}
        inputs.pop("x")
        name = f"CG-SENSE, 30 iterations, {count} × {coils} coils {size}²"
        yield compare(
            name,
            "cg",
            inputs,
            given.known(["sigpy", "deepinv", "mrpro", "bartorch", "BART"]),
            relative(1e-4),
            given.repeats,
        )


def espirit(given: argparse.Namespace) -> Iterator[Result]:
    """Maps from a square of 25 calibration lines; the answers correlate to .9999."""
    for _, size, coils in given.map_sizes:
        inputs = synthetic(1, size, coils)
        full = Sense(inputs["maps"]).forward(inputs["x"])
        noise = torch.randn(2, *full.shape, generator=torch.Generator().manual_seed(0))
        mask = torch.zeros(1, 1, size, size, dtype=torch.bool)
        centre = slice(size // 2 - 12, size // 2 + 13)
        mask[..., centre, centre] = True
        y = torch.where(mask, full + 1e-3 * torch.complex(*noise), 0)
        given_maps = {"y": y, "mask": mask, "maps": inputs["maps"]}
        name = f"ESPIRiT maps, {coils} coils {size}²"
        yield compare(
            name, "espirit", given_maps, given.known(["sigpy", "bartorch", "BART"]), correlated(0.9999), given.repeats
        )


def l1(given: argparse.Namespace) -> Iterator[Result]:
    """30 iterations each, ours with moved grids as BART's; our error at most 1.02 times theirs."""
    for count, size, coils in given.solver_sizes:
        inputs = synthetic(count, size, coils) | {"lam": torch.tensor(SPARSITY)}
        inputs.pop("x")
        truth = np.stack([np.asarray(subject(i, size=size).images[0]) for i in range(count)]).reshape(count, size, size)
        name = f"L1-wavelet, 30 iterations, {count} × {coils} coils {size}²"
        yield compare(name, "l1", inputs, given.known(["sigpy", "BART"]), no_worse(truth, 1.02), given.repeats)

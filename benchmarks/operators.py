"""SENSE operators of whole batches beside sigpy's, which takes one image at a time.

python benchmarks/operators.py
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from side_by_side import Row, Work, agreement, arguments, in_turns, machine, scans, table
from sigpy.mri.linop import Sense
from torch import Tensor

Part = Callable[[Any], Any]
"""A sigpy Linop, untyped."""


def rows(count: int, size: int, coils: int, given: argparse.Namespace) -> Iterator[Row]:
    """Forward, adjoint and normal operator of line-undersampled scans."""
    scan = scans(count, size, coils)
    assert scan.sensitivity_maps is not None
    weights = scan.mask[:, 0].float().expand(-1, size, -1).numpy()
    linops = [Sense(m, weights=w) for m, w in zip(scan.sensitivity_maps.numpy(), weights, strict=True)]
    A, y, x = scan.operator(), scan.without_unmeasured().y, scan.adjoint()

    def each(parts: list[Part], inputs: Tensor) -> Tensor:
        return torch.from_numpy(np.stack([part(one) for part, one in zip(parts, inputs.numpy(), strict=True)]))

    works: dict[str, tuple[Work, Work]] = {
        "forward": (lambda: A.forward(x), lambda: each(linops, x[:, 0])),
        "adjoint": (lambda: A.adjoint(y)[:, 0], lambda: each([linop.H for linop in linops], y)),
        "normal": (lambda: A.normal(x)[:, 0], lambda: each([linop.N for linop in linops], x[:, 0])),
    }
    for name, (ours, theirs) in works.items():
        difference = agreement(ours(), theirs(), 1e-5)
        work = f"{name}, {coils} coils, {size} x {size}, batch of {count}"
        yield Row(work, *in_turns(ours, theirs, given), f"{difference:.1g}")


def main() -> None:
    given = arguments(__doc__ or "", repeats=25)
    settings = [(2, 32, 2)] if given.small else [(1, 64, 4), (16, 64, 4), (1, 320, 8), (8, 320, 8)]
    print(machine(given), "", sep="\n")
    print(table([row for setting in settings for row in rows(*setting, given)], "relative difference"))


if __name__ == "__main__":
    main()

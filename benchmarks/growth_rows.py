"""Rows about growth: how the cost follows slices, coils, matrix, training scans and workers."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator

import numpy as np
import torch
from classical_rows import RIDGE, synthetic
from peers import Result

from ambient_mri.operators import Masked, Sense


def growth(given: argparse.Namespace) -> Iterator[Result]:
    """Exponents of the cost of CG-SENSE, fitted over slices, coils and matrix size."""
    from ambient_mri.solvers import conjugate_gradients

    curves: dict[str, list[tuple[int, tuple[int, int, int]]]] = {
        "slices": [(n, (n, 64, 4)) for n in (1, 4, 16, 64)][: given.points],
        "coils": [(n, (1, 128, n)) for n in (1, 2, 4, 8, 16, 32)][: given.points],
        "matrix": [(n, (1, n, 8)) for n in (64, 128, 256, 512)][: given.points],
    }
    for what, points in curves.items():
        costs = []
        for _, (count, size, coils) in points:
            inputs = synthetic(count, size, coils)
            A, b, lam = Masked(Sense(inputs["maps"]), inputs["mask"]), inputs["x"], torch.tensor(RIDGE)
            times = []
            for _ in range(given.repeats + 1):
                before = time.process_time()
                conjugate_gradients(A, b, lam, tolerance=1e-30, max_iterations=20)
                times.append(time.process_time() - before)
            costs.append(statistics.median(times[1:]))
        xs = [n for n, _ in points]
        exponent = float(np.polyfit(np.log(xs), np.log(costs), 1)[0])
        relatives = ", ".join(f"{n}: {cost / costs[0]:.1f}" for n, cost in zip(xs, costs, strict=True))
        yield Result(
            f"growth with {what}, 20 CG iterations", costs[0], {}, {"exponent": f"{exponent:.2f} ({relatives})"}
        )

"""Classical reconstruction of whole batches beside sigpy's apps, which take one image at a time, to the same quality.

    python benchmarks/solvers.py

CG-SENSE: both to a relative residual of 1e-5. L1-wavelet and total variation: each with the least number of iterations,
found before the clock starts, that brings the objective within 1 % of the optimum. L1-wavelet is without shifts of the
wavelet's grid and total variation anisotropic, since sigpy's apps know no other; each has its own step sizes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

import numpy as np
import sigpy
import torch
from side_by_side import Row, agreement, arguments, in_turns, machine, scans, table
from sigpy.mri import app
from torch import Tensor

from ambient_mri.measurement import Measurement
from ambient_mri.reconstruction import classical

TOLERANCE, RIDGE = 1e-5, 0.01
STRENGTH, WAVELET, ABOVE_OPTIMUM = 0.003, "db4", 1.01
CONVERGED, AT_MOST = 600, (100, 300, 900, 2700)


def cg_sense(scan: Measurement, given: argparse.Namespace) -> tuple[float, float, str]:
    """Both stop by themselves."""
    A, b = scan.operator(), scan.adjoint()

    def ours() -> Tensor:
        return classical.cg_sense(scan, RIDGE)[:, 0]

    def theirs() -> Tensor:
        sizes = iter(b.flatten(1).norm(dim=1).tolist())
        return _one_by_one(scan, lambda y, maps: app.SenseRecon(
            y, maps, lamda=RIDGE, max_iter=500, tol=TOLERANCE * next(sizes), show_pbar=False
        ))  # fmt: skip

    agreement(ours(), theirs(), 1e-3)
    reached = [float((b - A.normal(x[:, None]) - RIDGE * x[:, None]).norm() / b.norm()) for x in (ours(), theirs())]
    return *in_turns(ours, theirs, given), f"residual {reached[0]:.1e}, {reached[1]:.1e}"


def l1_wavelet(scan: Measurement, given: argparse.Namespace) -> tuple[float, float, str]:
    """FISTA on both sides."""

    def ours(iterations: int) -> Tensor:
        return classical.l1_wavelet(scan, STRENGTH, wavelet=WAVELET, iterations=iterations, shifts=False)[:, 0]

    def theirs(iterations: int, values: list[list[float]] | None = None) -> Tensor:
        return _one_by_one(scan, lambda y, maps: app.L1WaveletRecon(
            y, maps, STRENGTH, wave_name=WAVELET, max_iter=iterations, show_pbar=False,
            save_objective_values=values is not None,
        ), values)  # fmt: skip

    return _to_the_same_objective(scan, ours, theirs, sigpy.linop.Wavelet(scan.image_shape, wave_name=WAVELET), given)


def total_variation(scan: Measurement, given: argparse.Namespace) -> tuple[float, float, str]:
    """Primal-dual hybrid gradients on both sides."""

    def ours(iterations: int) -> Tensor:
        # users get the isotropic penalty, which sigpy does not have
        A, norm = classical.batch_linop(scan), scan.encoding().norm
        solved = classical.tv_fit(A, classical.batch_samples(scan), norm, STRENGTH, iterations, isotropic=False)
        return torch.from_numpy(solved)

    def theirs(iterations: int, values: list[list[float]] | None = None) -> Tensor:
        return _one_by_one(scan, lambda y, maps: app.TotalVariationRecon(
            y, maps, STRENGTH, max_iter=iterations, show_pbar=False, save_objective_values=values is not None
        ), values)  # fmt: skip

    return _to_the_same_objective(scan, ours, theirs, sigpy.linop.FiniteDifference(scan.image_shape), given)


def _one_by_one(
    scan: Measurement, make: Callable[..., sigpy.app.App], values: list[list[float]] | None = None
) -> Tensor:
    """Images `(b, y, x)` of an app; `values` collects the objective of every iteration."""
    assert scan.sensitivity_maps is not None
    images = []
    for y, maps in zip(scan.without_unmeasured().y.numpy(), scan.sensitivity_maps.numpy(), strict=True):
        one = make(y, maps)
        images.append(one.run())
        if values is not None:
            values.append(one.objective_values)
    return torch.from_numpy(np.stack(images))


def _to_the_same_objective(
    scan: Measurement, ours: Callable[[int], Tensor], theirs: Callable[..., Tensor], sparse: sigpy.linop.Linop,
    given: argparse.Namespace,
) -> tuple[float, float, str]:  # fmt: skip
    def objective(images: Tensor) -> float:
        misfit = scan.operator().forward(images[:, None]) - scan.without_unmeasured().y
        penalty = sum(float(np.abs(sparse(image)).sum()) for image in images.numpy())
        return 0.5 * float(misfit.abs().square().sum()) + STRENGTH * penalty

    target = ABOVE_OPTIMUM * objective(ours(CONVERGED))
    for most in AT_MOST:
        values: list[list[float]] = []
        theirs(most, values)
        reached = np.flatnonzero(np.sum(values, axis=0) <= target)
        if len(reached):
            break
    second = int(reached[0]) if len(reached) else most
    fails, first = 0, 8
    while objective(ours(first)) > target:
        fails, first = first, 2 * first
    while first - fails > 1:
        middle = (fails + first) // 2
        fails, first = (fails, middle) if objective(ours(middle)) <= target else (middle, first)
    agreement(ours(first), theirs(second), 0.1)
    seconds = in_turns(lambda: ours(first), lambda: theirs(second), given)
    return *seconds, f"iterations {first}, {second}{'' if len(reached) else ' (target not reached)'}"


def rows(count: int, size: int, coils: int, given: argparse.Namespace) -> Iterator[Row]:
    """One a method."""
    scan = scans(count, size, coils)
    for method in (cg_sense, l1_wavelet, total_variation):
        yield Row(f"{method.__name__}, {coils} coils, {size} x {size}, batch of {count}", *method(scan, given))


def main() -> None:
    given = arguments(__doc__ or "", repeats=3)
    settings = [(2, 32, 2)] if given.small else [(1, 64, 4), (16, 64, 4), (2, 320, 8)]
    print(machine(given), "", sep="\n")
    print(table([row for setting in settings for row in rows(*setting, given)], "ambient-mri, sigpy"))


if __name__ == "__main__":
    main()

"""One image of a measurement, by each of the methods that draw no samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ambient_mri.errors import InputError
from ambient_mri.measurement import Measurement
from ambient_mri.reconstruction import classical

if TYPE_CHECKING:
    from ambient_mri.prior.bundle import Bundle
    from ambient_mri.prior.preconditioning import Prior

Solve = Callable[[float | None], Tensor]
"""Strength → image `(b, 1, y, x)`; without a strength, the usual one."""


@dataclass(frozen=True)
class Estimate:
    """A `methods.Reconstruct` whose images are in the resolution of the scanner (`Measurement.band_limited`).

    Parameters
    ----------
    begun
        Does for a measurement what no strength changes, which is all that the network does but in turns with a solve.
    evaluations
        Of the network, a slice.
    """

    begun: Callable[[Measurement], Solve]
    evaluations: int = 0

    def begin(self, measurement: Measurement, /) -> Solve:
        solve = self.begun(measurement)
        return lambda strength: measurement.band_limited(solve(strength))

    def __call__(self, measurement: Measurement, strength: float | None, /) -> Tensor:
        return self.begin(measurement)(strength)


def by_one_step(bundle: Bundle) -> Estimate:
    from ambient_mri.sampling.proper import ambient_network

    return Estimate(_consistent(ambient_network(bundle), bundle.card.consistency), 1)


def by_one_step_averaged(bundle: Bundle) -> Estimate:
    """One evaluation of the scan in each position that training showed; the solve on their mean."""
    from ambient_mri.prior.symmetry import Averaged, positions
    from ambient_mri.sampling.proper import ambient_network

    prior, law = ambient_network(bundle), bundle.card.symmetry
    if law is None:
        raise InputError(
            "the model learned from scans as they lie (its card states no symmetry): moved ones are strange to it",
            where=str(bundle.path), remedy="Use one-step, or state `symmetry` in the spec and train",
        )  # fmt: skip
    moves = positions(law)
    return Estimate(_consistent(Averaged(prior, moves), bundle.card.consistency), len(moves))


def _consistent(prior: Prior, default: float) -> Callable[[Measurement], Solve]:
    from ambient_mri.sampling.one_step import consistent, one_step

    def begun(measurement: Measurement) -> Solve:
        A = measurement.operator()
        x_in = A.adjoint(measurement.y)
        with torch.inference_mode():
            expected = one_step(prior, measurement)
        return lambda strength: consistent(A, x_in, expected, default if strength is None else strength)

    return begun


def by_plug_and_play(bundle: Bundle) -> Estimate:
    from ambient_mri.sampling.observation import Observation
    from ambient_mri.sampling.plug_and_play import STEPS, STRENGTH, plug_and_play
    from ambient_mri.sampling.proper import ambient_network, require_all_levels

    require_all_levels(bundle, "plug-and-play")
    prior = ambient_network(bundle)

    def run(measurement: Measurement, strength: float | None) -> Tensor:
        chosen = STRENGTH if strength is None else strength
        with torch.inference_mode():
            return plug_and_play(prior, Observation.of(measurement), measurement.encoding(), strength=chosen)

    return Estimate(lambda measurement: partial(run, measurement), 1 + STEPS)


def by_one_step_tv(bundle: Bundle) -> Estimate:
    """One evaluation; then the solve that also asks for edges, with the model card's weight of the network's image."""
    from ambient_mri.sampling.one_step import one_step
    from ambient_mri.sampling.proper import ambient_network

    prior, consistency = ambient_network(bundle), bundle.card.consistency

    def begun(measurement: Measurement) -> Solve:
        measured = measurement.to("cpu")
        with torch.inference_mode():
            expected = one_step(prior, measurement).cpu()

        def solve(strength: float | None) -> Tensor:
            strength = default_strength("one-step-tv", measurement) if strength is None else strength
            image = classical.total_variation(measured, strength, expected=expected, consistency=consistency)
            return image.to(measurement.y.device)

        return solve

    return Estimate(begun, 1)


def by_classical(method: str) -> Estimate:
    return Estimate(lambda measurement: partial(_classical, method, measurement))


def _classical(method: str, measurement: Measurement, strength: float | None) -> Tensor:
    """On the CPU, wherever the measurement is."""
    strength = default_strength(method, measurement) if strength is None else strength
    measured = measurement.to("cpu")
    match method:
        case "cg-sense":
            image = classical.cg_sense(measured, strength)
        case "l1-wavelet":
            image = classical.l1_wavelet(measured, strength)
        case "tv":
            image = classical.total_variation(measured, strength)
        case "biharmonic":
            image = classical.biharmonic(measured)
        case _:
            image = classical.zero_filled(measured)
    return image.to(measurement.y.device)


def default_strength(method: str, measurement: Measurement) -> float:
    """A classical strength for scans that it cannot be tuned on, from the noise σ of the batch (normalised units).

    CG-SENSE 40σ² + 1e-5; L1-wavelet and TV σ/4 + 1e-4. Read off the strengths tuned on 12 brain FLAIR slices
    (64 × 64, 4 coils) at σ = .0035, .014, .035 and R = 2, 4, 8: within a factor of 2 of most of the nine
    (they range over 24 to 81 times σ², and .1 to .57 times σ). Tuning on data of the same kind is better.
    """
    sigma = float(measurement.noise_std.mean())
    return {
        "cg-sense": 40 * sigma**2 + 1e-5,
        "l1-wavelet": sigma / 4 + 1e-4,
        "tv": sigma / 4 + 1e-4,
        "one-step-tv": sigma / 5 + 1e-4,
    }.get(method, 0.0)

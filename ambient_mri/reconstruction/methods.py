"""The names that users give to methods of reconstruction, and what each of them can do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from ambient_mri.errors import InputError
from ambient_mri.measurement import Measurement
from ambient_mri.reconstruction import classical

if TYPE_CHECKING:
    from ambient_mri.prior.bundle import Bundle
    from ambient_mri.prior.preconditioning import Prior
    from ambient_mri.reconstruction.posterior import Sampling

METHODS = ("one-step", "one-step-tv", "zero-filled", "cg-sense", "l1-wavelet", "tv", "biharmonic")
ITERATED = ("one-step-averaged", "plug-and-play")
"""One image by several evaluations of the network: only where asked for."""
POSTERIOR = ("a-fill", "a-dps", "dps", "ddrm", "dds", "mmps")
"""The mean of posterior samples: slower, and only where asked for."""

TYPICAL = {
    "a-fill": 0.5,
    "dps": 0.5,
    "one-step": 0.01,
    "one-step-averaged": 0.01,
    "one-step-tv": 0.002,
    "plug-and-play": 0.5,
    "cg-sense": 0.01,
    "l1-wavelet": 0.003,
    "tv": 0.003,
}
"""Where tuning starts: strengths for a noise of about 1 % of the image's peak. Methods that are absent have none."""

Run = Callable[[Measurement, float | None], Tensor]
"""(measurement, strength) → image `(b, 1, y, x)`. None: the model card's for one-step, else `default_strength`."""


class Reconstruct(Protocol):
    """A method as a function, and what it costs."""

    @property
    def evaluations(self) -> int:
        """Network evaluations a slice (NFE); for posterior samples those of all samples together."""

    def __call__(self, measurement: Measurement, strength: float | None, /) -> Tensor: ...


@dataclass(frozen=True)
class _BandLimited:
    """A method whose images are in the resolution of the scanner (`Measurement.band_limited`)."""

    run: Run
    evaluations: int = 0

    def __call__(self, measurement: Measurement, strength: float | None, /) -> Tensor:
        return measurement.band_limited(self.run(measurement, strength))


OF_REFINED = "mmps"
"""A refined model knows whole images only, which one-step does not ask about: its most accurate sampler."""


def default_methods(bundle: Bundle | None) -> tuple[str, ...]:
    """What is compared where no methods are named: all that draw no samples and that the model can serve.

    Of a refined model `mmps` takes the place of the methods that use a network. Without a model, the classical methods.
    """
    from ambient_mri.prior.card import REFINED

    classical_ones = tuple(name for name in METHODS if not needs_network(name))
    if bundle is None:
        return classical_ones
    return (OF_REFINED, *classical_ones) if bundle.card.method == REFINED else METHODS


def default_method(bundle_path: Path | str | None, ambient: str = "one-step") -> str:
    """What a model is used with where no method is named: `mmps` if it is a refined one, otherwise `ambient`.

    Raises
    ------
    InputError
        If there is no bundle at the path, or its card cannot be read.
    """
    from ambient_mri.prior.bundle import load_card
    from ambient_mri.prior.card import REFINED

    return OF_REFINED if bundle_path is not None and load_card(Path(bundle_path)).method == REFINED else ambient


def applies(method: str, domain: str) -> bool:
    """CG-SENSE says nothing where pixels were measured; biharmonic inpainting nothing where k-space was."""
    return method != {"image": "cg-sense", "kspace": "biharmonic"}[domain]


def has_strength(method: str) -> bool:
    """Whether the method has a regularisation strength to tune."""
    return method in TYPICAL


def needs_network(method: str) -> bool:
    """Whether the method uses a trained model; the others are classical."""
    return method in ("one-step", "one-step-tv", *ITERATED, *POSTERIOR)


def fills_in(method: str) -> bool:
    """Whether the method estimates what was not measured; zero-filling leaves it at 0 by design."""
    return method != "zero-filled"


def load(path: Path | str | None, device: str, domain: str | None = None) -> Bundle:
    """The model for data of a domain, or of whatever domain it is.

    Raises
    ------
    InputError
        If there is none, it cannot be read, or it knows data of the other domain only.
    """
    from ambient_mri.prior.bundle import load_bundle
    from ambient_mri.sampling.proper import knows

    if path is None:
        raise InputError("the method needs a trained bundle", remedy="Give one, or choose a classical method")
    bundle = load_bundle(path, device=device)
    if domain is not None and not knows(bundle.card, domain):
        raise InputError(
            f"the model was trained on {'pixels' if domain == 'kspace' else 'k-space'}, and this is "
            f"{'k-space' if domain == 'kspace' else 'pixels'}",
            where=str(path),
            remedy="Choose a bundle trained on data of this kind, or a refined one, which knows whole images",
        )
    return bundle


def reconstruction(method: str, bundle: Bundle | None, sampling: Sampling | None = None) -> Reconstruct:
    """The method as a function; `bundle` is needed where a network is, `sampling` where samples are drawn.

    Raises
    ------
    InputError
        If there is no such method, no bundle where one is needed, or its model is of another kind.
    """
    every = METHODS + ITERATED + POSTERIOR
    if method not in every:
        raise InputError(f"{method!r} is not a method", remedy=f"Choose among {', '.join(every)}")
    if not needs_network(method):
        return _BandLimited(partial(_classical, method))
    if bundle is None:
        raise InputError(f"{method} needs a trained bundle", remedy="Give one, or choose a classical method")
    match method:
        case "one-step":
            return _one_step(bundle)
        case "one-step-averaged":
            return _one_step_averaged(bundle)
        case "one-step-tv":
            return _one_step_tv(bundle)
        case "plug-and-play":
            return _plug_and_play(bundle)
    from ambient_mri.reconstruction.posterior import Posterior, Sampling

    return Posterior(method, bundle, sampling or Sampling())


def _one_step(bundle: Bundle) -> Reconstruct:
    from ambient_mri.sampling.proper import ambient_network

    return _BandLimited(_consistent(ambient_network(bundle), bundle.card.consistency), 1)


def _one_step_averaged(bundle: Bundle) -> Reconstruct:
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
    return _BandLimited(_consistent(Averaged(prior, moves), bundle.card.consistency), len(moves))


def _consistent(prior: Prior, default: float) -> Run:
    from ambient_mri.sampling.one_step import one_step

    def run(measurement: Measurement, strength: float | None) -> Tensor:
        with torch.inference_mode():
            image: Tensor = one_step(prior, measurement, consistency=default if strength is None else strength)
        return image

    return run


def _plug_and_play(bundle: Bundle) -> Reconstruct:
    from ambient_mri.sampling.observation import Observation
    from ambient_mri.sampling.plug_and_play import STEPS, STRENGTH, plug_and_play
    from ambient_mri.sampling.proper import ambient_network, require_all_levels

    require_all_levels(bundle, "plug-and-play")
    prior = ambient_network(bundle)

    def run(measurement: Measurement, strength: float | None) -> Tensor:
        chosen = STRENGTH if strength is None else strength
        with torch.inference_mode():
            return plug_and_play(prior, Observation.of(measurement), measurement.encoding(), strength=chosen)

    return _BandLimited(run, 1 + STEPS)


def _one_step_tv(bundle: Bundle) -> Reconstruct:
    """One evaluation; then the solve that also asks for edges, with the model card's weight of the network's image."""
    from ambient_mri.sampling.proper import ambient_network

    prior, consistency = ambient_network(bundle), bundle.card.consistency

    def run(measurement: Measurement, strength: float | None) -> Tensor:
        from ambient_mri.sampling.one_step import one_step

        strength = default_strength("one-step-tv", measurement) if strength is None else strength
        with torch.inference_mode():
            expected = one_step(prior, measurement).cpu()
        image = classical.total_variation(measurement.to("cpu"), strength, expected=expected, consistency=consistency)
        return image.to(measurement.y.device)

    return _BandLimited(run, 1)


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

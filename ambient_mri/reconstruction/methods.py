"""The names that users give to methods of reconstruction, and what each of them can do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

from ambient_mri.errors import InputError
from ambient_mri.measurement import Measurement
from ambient_mri.reconstruction import estimates

if TYPE_CHECKING:
    from ambient_mri.prior.bundle import Bundle
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


class Reconstruct(Protocol):
    """A method as a function, (measurement, strength) → image `(b, 1, y, x)`, and what it costs.

    Without a strength it takes the model card's for one-step, else `estimates.default_strength`.
    """

    @property
    def evaluations(self) -> int:
        """Network evaluations a slice (NFE); for posterior samples those of all samples together."""

    def begin(self, measurement: Measurement, /) -> estimates.Solve:
        """What no strength changes, done once for all that are tried: strength → image."""

    def __call__(self, measurement: Measurement, strength: float | None, /) -> Tensor: ...


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
        return estimates.by_classical(method)
    if bundle is None:
        raise InputError(f"{method} needs a trained bundle", remedy="Give one, or choose a classical method")
    match method:
        case "one-step":
            return estimates.by_one_step(bundle)
        case "one-step-averaged":
            return estimates.by_one_step_averaged(bundle)
        case "one-step-tv":
            return estimates.by_one_step_tv(bundle)
        case "plug-and-play":
            return estimates.by_plug_and_play(bundle)
    from ambient_mri.reconstruction.posterior import Posterior, Sampling

    return Posterior(method, bundle, sampling or Sampling())

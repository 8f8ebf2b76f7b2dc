"""Which priors answer E[x | x_t] for a whole noisy image, and which only for what an Ã shows of it.

An ambient network saw masked inputs only: with a fixed Ã its Jacobian is not the covariance of what is unknown, and
samplers that take it for one (or that ask for E[x | x_t] itself) diverge or settle on something else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Generator, Tensor

from ambient_mri.errors import InputError
from ambient_mri.operators import Identity, Masked, Sense
from ambient_mri.prior.bundle import Bundle
from ambient_mri.prior.card import REFINED, Card
from ambient_mri.prior.preconditioning import Prior
from ambient_mri.prior.symmetry import STILL, Move
from ambient_mri.sampling.observation import Observation

REMEDY = (
    "Use one-step, a-fill or a-dps, refine the model into a proper prior by EM (`ambient-mri refine`), or train on "
    "fully sampled scans without further corruption (`ambient-mri train --method naive` and a fully_sampled SPEC)"
)


@runtime_checkable
class Proper(Protocol):
    """A denoiser of whole images."""

    def expect(self, x: Tensor, sigma: Tensor) -> Tensor:
        """E[x | x_t] `(b, 1, y, x)` for x_t = x + σ n.

        Parameters
        ----------
        x
            x_t `(b, 1, y, x)` complex64.
        sigma
            `(b,)` per real component.
        """


@dataclass(frozen=True)
class Ambient:
    """An ambient prior and the law of the Ã that a sampler looks through, one Ã a sample, drawn once.

    Parameters
    ----------
    given
        Draws Ã for a batch, sample i from generator i only.
    positions
        Those in which a-fill shows it a scan, in turns. A-DPS, as published, shows it as it lies.
    """

    prior: Prior
    given: Callable[[Observation, Sequence[Generator]], Masked]
    positions: tuple[Move, ...] = (STILL,)


@dataclass(frozen=True)
class WholeImages:
    """A network that was trained on fully sampled inputs, asked with one. Made by `proper_prior`.

    `coils`: whether training had several; then the network learned beside a solve for (N + λI)⁻¹ that is a polynomial,
    and meets the same one here: maps of ones have the same N = I as any normalised maps.
    """

    prior: Prior
    coils: bool

    def expect(self, x: Tensor, sigma: Tensor) -> Tensor:
        shape = (int(x.shape[-2]), int(x.shape[-1]))
        return self.prior.denoise(x, sigma, whole_images(shape, len(x), coils=self.coils, device=x.device))


def whole_images(shape: tuple[int, int], count: int, *, coils: bool, device: torch.device | str = "cpu") -> Masked:
    """The operator of `count` images of which everything is measured; see `WholeImages` for `coils`."""
    shown = torch.ones(1, 1, *shape, dtype=torch.bool, device=device)
    encoding = Sense(shown.to(torch.complex64)) if coils else Identity()
    return Masked(encoding, shown.expand(count, -1, -1, -1))


def is_proper(card: Card) -> bool:
    """Whether the network saw whole images: refined by EM, or trained on fully sampled scans with D absent."""
    whole = all(one.acquisition.pattern.kind == "fully_sampled" for one in card.components()) and card.method == "naive"
    return whole or card.method == REFINED


def knows(card: Card, domain: str) -> bool:
    """Whether a model can be used on data of a domain, "kspace" or "image": that of its scans, if refined any.

    A refined model is asked about whole images only (`ambient_network`), which are the same behind all scans.
    """
    return card.acquisition.domain == domain or card.method == REFINED


def proper_prior(bundle: Bundle) -> WholeImages:
    """The model of a bundle as a proper prior.

    Raises
    ------
    InputError
        If it is an ambient one: says what to do.
    """
    if not is_proper(bundle.card):
        raise InputError(
            f"a model trained with the method {bundle.card.method} on {bundle.card.acquisition.pattern.kind} data is "
            "an ambient prior: it knows E[x | Ãx_t] for masked inputs, and this sampler needs E[x | x_t]",
            where=str(bundle.path), remedy=REMEDY,
        )  # fmt: skip
    return WholeImages(bundle.prior, bundle.card.coils > 1)


def ambient_network(bundle: Bundle) -> Prior:
    """The model of a bundle as one that is asked about what a mask shows.

    Raises
    ------
    InputError
        If it was refined: it has been trained on whole images since, and no longer knows masks.
    """
    if bundle.card.method == REFINED:
        raise InputError(
            "a refined model knows E[x | x_t] of whole images, and this method asks about masked ones",
            where=str(bundle.path),
            remedy="Leave out the method for mmps, name dds, ddrm or dps, or use the ambient model that was refined",
        )  # fmt: skip
    return bundle.prior


def require_all_levels(bundle: Bundle, method: str) -> None:
    """Nothing, where the network knows more noise levels than that of its scans.

    Raises
    ------
    InputError
        If it does not.
    """
    if bundle.card.method == "ssdu":
        raise InputError(
            f"{method} asks for all noise levels, and a model trained with the method ssdu knows only σ_y",
            where=str(bundle.path), remedy="Use one-step, or a model trained with --method ambient",
        )  # fmt: skip


def require_proper(prior: object, sampler: str) -> Proper:
    """`prior` itself where it is proper.

    Raises
    ------
    InputError
        If it is an ambient one.
    """
    if not isinstance(prior, Proper):
        raise InputError(
            f"{sampler} needs a proper prior, E[x | x_t], and this one is ambient: it knows E[x | Ãx_t] only, whose "
            "derivative is not a covariance, so that the samples would diverge or collapse",
            where=sampler, remedy=REMEDY,
        )  # fmt: skip
    return prior


def require_ambient(prior: object, observed: Observation, sampler: str) -> Ambient:
    """`prior` itself where it is ambient.

    Raises
    ------
    InputError
        If it is not, or the scan was not measured on the grid that masks are of.
    """
    if tuple(observed.y.shape[-2:]) != tuple(observed.shape[-2:]):
        raise InputError(
            f"{sampler} looks through a mask of the image's own grid, and the scan was encoded otherwise",
            where=sampler, remedy="Refine the model (`ambient-mri refine`), and use mmps or dds",
        )  # fmt: skip
    if not isinstance(prior, Ambient):
        raise InputError(
            f"{sampler} looks through a mask Ã, and the prior does not say which", where=sampler,
            remedy="Give Ambient(prior, given); with a proper prior use mmps, dds or dps",
        )  # fmt: skip
    return prior

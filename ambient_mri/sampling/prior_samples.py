"""Samples of the prior with a fixed mask: Heun on dx/dσ = (x - h(Ã, Ãx_σ, σ))/σ (Karras et al. 2022, algorithm 2).

Every step first adds a little noise: what earlier steps got wrong is forgotten with it, and samples of a network,
which is never exact, come closer to the cohort. Through a mask that holds below σ = 1 only: before, what it hides has
collapsed already, and larger noise, seen through it, does not bring it back.

The network is an ambient one: it predicts from what Ã shows of the noisy image, and what Ã hides collapses towards its
conditional mean (Aali et al. 2025). Samples are therefore less diverse than the cohort in what their mask hides, and Ã
hides no more than A did: D is for training. A denser one, of several scans together, is one that the network never met
and worse again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor

from ambient_mri import files
from ambient_mri.corruption import Corruption, Mixture
from ambient_mri.operators import Encoding, Fourier, Identity, Masked, Sense
from ambient_mri.patterns import FullySampled, Pattern
from ambient_mri.pictures import enlarged, grey, sheet, write_png
from ambient_mri.prior.bundle import Bundle, load_bundle, load_card
from ambient_mri.prior.card import ADVERSARIAL, Card
from ambient_mri.prior.preconditioning import LOWEST_SIGMA, Prior
from ambient_mri.randomness import stream
from ambient_mri.sampling.generated import load_generator
from ambient_mri.sampling.noise import draws, noise_like
from ambient_mri.sampling.proper import is_proper, require_all_levels, whole_images

SIGMA_MAX, RHO = 20.0, 7.0
STOCHASTIC_BELOW = 1.0  # σ of samples through a mask; of whole images, all noise levels
MASKED_STEPS, WHOLE_STEPS = 18, 12
"""Noise levels, chosen on validation patients. A network leans to what is smooth and common, and a step with added
noise trusts it anew: more of them take detail and variety from whole images, fewer than 12 are too coarse."""
CHURN, MOST_CHURN = 6.0, math.sqrt(2) - 1
"""A step starts at σ (1 + γ), γ = CHURN / steps, at most √2 - 1 (S_churn of Karras et al. 2022; S_noise = 1)."""


def noise_levels(steps: int, low: float, high: float = SIGMA_MAX) -> list[float]:
    """σ_0 > … > σ_steps-1 = `low`, evenly spaced in σ^(1/ρ), ρ = 7 (Karras et al. 2022, eq. 5)."""
    ends = high ** (1 / RHO), low ** (1 / RHO)
    return [(ends[0] + i / max(steps - 1, 1) * (ends[1] - ends[0])) ** RHO for i in range(steps)]


class Lifted:
    """The law of training at an image x_t = x + σ n: ỹ = M(E x_t + σ (I - EEᴴ) n'), one n' a trajectory.

    Multi-coil noise is white on every coil, that of an image is not; the lift adds what is missing and vanishes
    where E is unitary (pixels, one coil).
    """

    def __init__(self, given: Masked, rngs: Sequence[Generator], shape: tuple[int, int]) -> None:
        self.given = given
        probe = given.forward(torch.zeros(len(rngs), 1, *shape, dtype=torch.complex64, device=given.mask.device))
        self.beyond = torch.zeros_like(probe)
        if not isinstance(given.encoding, Identity | Fourier):
            n = draws(tuple(probe.shape[1:]), rngs).to(probe.device)
            self.beyond = n - given.encoding.forward(given.encoding.adjoint(n))

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        """Ãᴴỹ for the image x at noise level σ."""
        return self.given.adjoint(self.given.encoding.forward(x) + sigma * self.beyond)


def heun(
    prior: Prior, given: Masked, rngs: Sequence[Generator], shape: tuple[int, int], *, steps: int, low: float,
    stochastic_below: float = STOCHASTIC_BELOW,
) -> Tensor:  # fmt: skip
    """Images `(b, 1, y, x)`; sample i uses `rngs[i]` only, so the batch size changes nothing.

    Parameters
    ----------
    given
        Ã of each sample, the same at all noise levels.
    steps
        Noise levels; 2 · steps - 1 network evaluations.
    low
        Lowest level: σ_y of the training scans. The last step there is one denoising.
    stochastic_below
        Steps from noise levels below this first add noise; 0: none, which makes the path deterministic.
    """
    levels = noise_levels(steps, low)
    x = levels[0] * draws((1, *shape), rngs).to(given.mask.device)
    lifted = Lifted(given, rngs, shape)

    def denoised(image: Tensor, sigma: float) -> Tensor:
        return prior.denoise(lifted(image, sigma), torch.full((len(rngs),), sigma, device=image.device), given)

    for level, following in pairwise(levels):
        sigma = level
        if level < stochastic_below:
            sigma *= 1 + min(CHURN / steps, MOST_CHURN)
            x = x + math.sqrt(sigma**2 - level**2) * noise_like(x, rngs)
        slope = (x - denoised(x, sigma)) / sigma
        ahead = x + (following - sigma) * slope
        slope = (slope + (ahead - denoised(ahead, following)) / following) / 2
        x = x + (following - sigma) * slope
    return denoised(x, levels[-1])


def met(pattern: Pattern) -> Pattern:
    """The law of the masks that a network met: D thins fully sampled scans as if `law` had drawn their masks, and never
    shows one whole.
    """
    if isinstance(pattern, Mixture):
        return replace(pattern, laws=tuple(met(law) for law in pattern.laws))
    return pattern.law if isinstance(pattern, FullySampled) else pattern


def draw_given(card: Card, rngs: Sequence[Generator], device: torch.device | str = "cpu") -> Masked:
    """Ã for each sample: the mask of a scan yet to come, and birdcage coils where there are several.

    Of a proper prior everything is shown; of an ambient one never, even where scans were fully sampled (see `met`).
    """
    from ambient_mri.data.simulation import birdcage_maps

    shape = card.image_shape
    if is_proper(card):
        return whole_images(shape, len(rngs), coils=card.coils > 1, device=device)
    encoding: Encoding
    if card.acquisition.domain == "image":
        encoding = Identity()
    elif card.coils == 1:
        encoding = Fourier()
    else:
        encoding = Sense(torch.cat([birdcage_maps(card.coils, shape, rng) for rng in rngs]).to(device))
    scans = Corruption(met(card.pattern())).draw(encoding, shape, rngs)
    return Masked(encoding, scans.mask.to(device))


def usual_steps(card: Card) -> int:
    """Noise levels of a model's samples where none are asked for: 12 of whole images, 18 through a mask."""
    return WHOLE_STEPS if is_proper(card) else MASKED_STEPS


def draw_samples(bundle: Bundle, rngs: Sequence[Generator], steps: int | None = None) -> Tensor:
    """Images `(b, 1, y, x)` of a model, on its device, down to the noise of its scans.

    `steps` as of `heun`; None: `usual_steps`.
    """
    card = bundle.card
    given = draw_given(card, rngs, bundle.device)
    return heun(bundle.prior, given, rngs, card.image_shape, steps=usual_steps(card) if steps is None else steps,
                low=max(card.noise_std, LOWEST_SIGMA),
                stochastic_below=math.inf if is_proper(card) else STOCHASTIC_BELOW)  # fmt: skip


def sample_to_folder(
    bundle_path: Path, count: int, out: Path, *, steps: int | None = None, seed: int = 0, batch_size: int = 16,
    device: str = "cpu",
) -> Path:  # fmt: skip
    """Draw `count` images; writes `samples.npy` `(count, y, x)` complex64 and `samples.png`, returns `out`.

    `steps` as of `draw_samples`; a generator (AmbientGAN) has none.

    Raises
    ------
    InputError
        If the model knows one noise level only (ssdu): it draws nothing.
    """
    draw = _drawer(bundle_path, steps, device)
    images = []
    for start in range(0, count, batch_size):
        rngs = [stream(seed, "samples", i) for i in range(start, min(start + batch_size, count))]
        with torch.inference_mode():
            images.append(draw(rngs).cpu())
    array = torch.cat(images)[:, 0].numpy()
    files.write_array(out / "samples.npy", array)
    shown = [enlarged(grey(magnitude)) for magnitude in np.abs(array)]
    write_png(out / "samples.png", sheet(shown, columns=max(int(len(shown) ** 0.5), 1)))
    return out


def _drawer(bundle_path: Path, steps: int | None, device: str) -> Callable[[Sequence[Generator]], Tensor]:
    """What draws one image a generator of randomness, `(b, 1, y, x)`, from a bundle of either kind."""
    if load_card(bundle_path).method == ADVERSARIAL:
        return load_generator(bundle_path, device).draw
    bundle = load_bundle(bundle_path, device)
    require_all_levels(bundle, "sample")
    return partial(draw_samples, bundle, steps=steps)

"""Simulated scans: what a scanner would have delivered of a known image, for training without data and for evaluation.

A simulated scan is y = M(F(S_c x) + e): a magnitude image given a smooth phase, seen by birdcage
coils, with white noise, of which only the drawn mask M is kept. Phase, coils, noise and mask are
independent streams of randomness, so that the same scan can be simulated with another mask.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from ambient_mri.coils import absorb_phase, espirit_maps
from ambient_mri.errors import InputError
from ambient_mri.measurement import DATA_STD, Measurement, energy_scale
from ambient_mri.operators import Coils, Identity, Sense, keep
from ambient_mri.patterns import Pattern
from ambient_mri.randomness import stream, white

COIL_RADIUS = 1.5  # distance of coil centres from the middle, in half fields of view (as sigpy.mri.birdcage_maps)
PHASE_STD = 0.8  # rad, of each coefficient of the phase polynomial over [-1, 1]²


@dataclass(frozen=True)
class Acquisition:
    """How scans are acquired.

    Parameters
    ----------
    pattern
        The law that draws what is measured.
    domain
        "kspace", or "image" where pixels are measured directly (no coils, no phase).
    coils
        Receive channels.
    noise_std
        Standard deviation per real component, in units where the image has standard deviation .5
        (peak ≈ 1.5).
    phase
        "smooth" (random second-order polynomial) or "none".
    sensitivity_maps
        "known" (those of the simulation) or "espirit" (estimated from measured calibration lines).
    """

    pattern: Pattern
    domain: str = "kspace"
    coils: int = 4
    noise_std: float = 0.0
    phase: str = "smooth"
    sensitivity_maps: str = "known"

    def __post_init__(self) -> None:
        for name, allowed in (
            ("domain", ("kspace", "image")),
            ("phase", ("smooth", "none")),
            ("sensitivity_maps", ("known", "espirit")),
        ):
            if getattr(self, name) not in allowed:
                raise InputError(
                    f"{getattr(self, name)!r} is not one of {', '.join(allowed)}", where=f"acquisition.{name}"
                )
        if self.coils < 1:
            raise InputError(f"{self.coils} is not a number of coils", where="acquisition.coils")
        if not (math.isfinite(self.noise_std) and self.noise_std >= 0):
            raise InputError(f"{self.noise_std} is not a standard deviation", where="acquisition.noise_std")


@dataclass(frozen=True)
class SimulatedScan:
    """A measurement and the image behind it, `(1, 1, y, x)` complex64 in the same normalised units.

    The truth is E ᴴ of the noiseless, fully sampled data with the measurement's own maps: what a
    perfect reconstruction would return. For evaluation only.
    """

    measurement: Measurement
    truth: Tensor


@dataclass(frozen=True)
class FullSamples:
    """What no scanner delivers: all noisy `samples` `(1, c, y, x)` of an `image` `(1, 1, y, x)` under `maps`."""

    samples: Tensor
    image: Tensor
    maps: Tensor | None


def simulate_scan(
    image: Tensor,
    acquisition: Acquisition,
    scan_id: str,
    *,
    volume_id: str | None = None,
    seed: int = 0,
    affine: Tensor | None = None,
) -> SimulatedScan:
    """Simulate one normalised scan of a magnitude image `(y, x)`.

    Parameters
    ----------
    image
        Non-negative, any scale: it is first brought to standard deviation .5.
    scan_id
        Identity of the slice; seeds phase and noise.
    volume_id
        Identity of the volume; slices that share it share coils and mask. Default: `scan_id`.
    affine
        `(4, 4)` voxel → LPS mm, passed on.

    Raises
    ------
    InputError
        If the image is not a finite, non-negative, non-constant magnitude image.
    """
    full = sample_everything(image, acquisition, scan_id, volume_id=volume_id, seed=seed)
    measurement = acquire(
        full.samples, acquisition, scan_id, maps=full.maps, volume_id=volume_id, seed=seed, affine=affine
    )
    used = measurement.sensitivity_maps
    # what the measurement's maps (estimated, or with a phase absorbed) make of the true coil images
    truth = full.image if used is None or full.maps is None else Coils(used).adjoint(full.maps * full.image)
    return SimulatedScan(measurement, truth / measurement.scale.reshape(-1, 1, 1, 1))


def sample_everything(
    image: Tensor,
    acquisition: Acquisition,
    scan_id: str,
    *,
    volume_id: str | None = None,
    seed: int = 0,
    spread: float | None = None,
) -> FullSamples:
    """All noisy samples of an image, before a mask is drawn; parameters as in `simulate_scan`.

    Parameters
    ----------
    spread
        Standard deviation of the volume's intensities, for one scale over all its slices; None: that
        of `image`.
    """
    x = _standardised(image, scan_id, spread).to(torch.complex64)[None, None]
    shape = (int(image.shape[-2]), int(image.shape[-1]))
    maps: Tensor | None = None
    if acquisition.domain == "kspace":
        if acquisition.phase == "smooth":
            x = torch.polar(x.real, smooth_phase(shape, stream(seed, "phase", scan_id)))
        maps = birdcage_maps(acquisition.coils, shape, stream(seed, "coils", volume_id or scan_id))
    samples = Identity().forward(x) if maps is None else Sense(maps).forward(x)
    samples = samples + acquisition.noise_std * white(samples.shape, stream(seed, "noise", scan_id))
    return FullSamples(samples, x, maps)


def acquire(
    samples: Tensor,
    acquisition: Acquisition,
    scan_id: str,
    *,
    maps: Tensor | None = None,
    volume_id: str | None = None,
    seed: int = 0,
    affine: Tensor | None = None,
) -> Measurement:
    """Draw the mask of one scan, discard what it does not measure, and normalise by the rest.

    Parameters
    ----------
    samples
        `(1, c, y, x)` complex64, all samples: simulated, or a fully sampled acquisition. Samples
        that the mask leaves out are discarded before anything is computed (they may be NaN).
    maps
        `(1, c, y, x)` if known; otherwise estimated from the measured calibration lines.
    """
    shape = (int(samples.shape[-2]), int(samples.shape[-1]))
    pattern = acquisition.pattern
    mask = pattern.draw(shape, stream(seed, "mask", volume_id or scan_id))[None, None]
    y = keep(mask, samples)
    if not bool(torch.isfinite(torch.view_as_real(y)).all()):
        raise InputError("measured samples are not finite (NaN or infinity)", where=scan_id)
    if acquisition.domain == "kspace":
        if maps is None or acquisition.sensitivity_maps == "espirit":
            maps = espirit_maps(y, mask)
        maps = absorb_phase(maps, y, mask)
    scale = energy_scale(y, mask, pattern.probability(shape), acquisition.noise_std)
    return Measurement(
        y=y / scale,
        mask=mask,
        sensitivity_maps=maps,
        noise_std=torch.tensor([acquisition.noise_std / scale]),
        scale=torch.tensor([scale]),
        domain=acquisition.domain,
        scan_ids=(scan_id,),
        affine=None if affine is None else affine[None],
    )


def birdcage_maps(coils: int, shape: tuple[int, int], rng: Generator) -> Tensor:
    """Sensitivity maps `(1, c, y, x)` of coils on a circle, turned by a random angle, Σ_c |S_c|² = 1.

    Each coil falls off with the inverse distance and its phase turns with the direction to it
    (Roemer 1990; the formula of `sigpy.mri.birdcage_maps`).
    """
    turn = 2 * math.pi * float(torch.rand((), generator=rng))
    angle = (turn + 2 * math.pi * torch.arange(coils) / coils)[:, None, None]
    y, x = torch.meshgrid(*(_coordinates(n) for n in shape), indexing="ij")
    from_coil = torch.complex(COIL_RADIUS * torch.sin(angle) - y, x - COIL_RADIUS * torch.cos(angle))
    maps = from_coil / from_coil.abs().square() * torch.polar(torch.ones(()), -angle)
    maps = maps / maps.abs().square().sum(0).sqrt()
    return maps[None].to(torch.complex64)


def smooth_phase(shape: tuple[int, int], rng: Generator) -> Tensor:
    """A random second-order polynomial in rad, `(y, x)`; its constant is three times as wide."""
    y, x = torch.meshgrid(*(_coordinates(n) for n in shape), indexing="ij")
    basis = torch.stack([torch.full_like(x, 3.0), x, y, x * y, x.square(), y.square()])
    return torch.einsum("k,kyx->yx", PHASE_STD * torch.randn(len(basis), generator=rng), basis)


def _coordinates(n: int) -> Tensor:
    return (torch.arange(n) - n // 2) / (n / 2)


def _standardised(image: Tensor, scan_id: str, spread: float | None) -> Tensor:
    if image.ndim != 2 or image.is_complex():
        raise InputError(f"{tuple(image.shape)} {image.dtype} is not a real (y, x) magnitude image", where=scan_id)
    image = image.float()
    if not bool(torch.isfinite(image).all()):
        raise InputError("the image holds NaN or infinity", where=scan_id)
    if bool((image < 0).any()):
        raise InputError("the image holds negative values, which a magnitude image cannot", where=scan_id)
    spread = float(image.std()) if spread is None else spread
    if spread == 0:
        raise InputError("the image is constant", where=scan_id, remedy="Leave empty slices out")
    return image * (DATA_STD / spread)

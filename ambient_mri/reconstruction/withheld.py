"""Measured lines that are kept back once: does an image made without them predict them?

The only check of a reconstruction that an overfitted image cannot pass, and that needs no truth (Yaman et al. 2020).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from scipy.special import stdtrit
from torch import Generator, Tensor

from ambient_mri.coils import calibration_region
from ambient_mri.measurement import Measurement
from ambient_mri.operators import keep
from ambient_mri.randomness import stream
from ambient_mri.reconstruction.methods import Reconstruct
from ambient_mri.reconstruction.posterior import Posterior

SHARE = 0.15
LEVEL = 0.9
"""Of predictive intervals."""


@dataclass(frozen=True)
class Withheld:
    """Sums over the slices that were looked at.

    Parameters
    ----------
    samples
        Complex samples kept back, of all coils.
    energy
        Σ|y|² of them.
    error
        Σ|y - E x̂|² of them, x̂ made without them.
    noise
        What noise alone adds to either: 2 σ² a sample.
    inside
        With posterior samples: real components inside their 90 % predictive interval; None: no samples were drawn.
    """

    samples: int
    energy: float
    error: float
    noise: float
    inside: int | None

    @property
    def nmse(self) -> float | None:
        """Squared error over energy, both without the noise: 0 is perfect, 1 no better than an empty image.

        None where what was kept back is no more than noise.
        """
        signal = self.energy - self.noise
        return max(self.error - self.noise, 0.0) / signal if signal > 0.1 * self.noise and signal > 0 else None

    @property
    def coverage(self) -> float | None:
        """Share of real components inside their 90 % predictive interval."""
        return None if self.inside is None else self.inside / (2 * self.samples)


def kept_back(mask: Tensor, rng: Generator) -> Tensor:
    """Which of the measured lines `(1, x)`, or points `(y, x)`, are kept back: 15 %, outside the calibration region.

    None of them where there are fewer than two outside it.
    """
    outside = mask.clone()
    outside[calibration_region(mask)] = False
    places = outside.flatten().nonzero().flatten()
    count = min(max(1, round(SHARE * int(mask.sum()))), len(places) // 2)
    chosen = torch.zeros(mask.numel(), dtype=torch.bool)
    chosen[places[torch.randperm(len(places), generator=rng)[:count]]] = True
    return chosen.reshape(mask.shape)


def damaged_again(mask: Tensor, rng: Generator) -> Tensor:
    """Measured pixels `(y, x)` where the missing ones would lie if they were shifted, so that what is kept back has the
    shape of the damage; none where that would be more than half of what was measured.
    """
    moves = [int(torch.randint(n // 4, n - n // 4, (1,), generator=rng)) for n in mask.shape]
    again = mask & (~mask).roll(moves, (0, 1))
    return again if 2 * int(again.sum()) <= int(mask.sum()) else torch.zeros_like(again)


def withheld(
    measurement: Measurement, run: Reconstruct, strength: float | None, *, factor: float = 1.0
) -> Withheld | None:  # fmt: skip
    """Reconstruct a batch without some of what was measured, and compare; None where nothing can be kept back.

    The slices of a batch have one mask, and lose the same samples, which the name of the volume decides.

    Parameters
    ----------
    run, strength
        As the images were made.
    factor
        On the standard deviations of samples, as those of the images are multiplied.
    """
    rng = stream(0, "kept back", measurement.scan_ids[0].rpartition("/")[0])
    choose = kept_back if measurement.domain == "kspace" else damaged_again
    held = choose(measurement.mask[0, 0].cpu(), rng)[None, None].expand(len(measurement), -1, -1, -1)
    held = held.to(measurement.y.device)
    if not bool(held.any()):
        return None
    without = replace(measurement, mask=measurement.mask & ~held, y=keep(~held, measurement.y))
    encoding, truth = measurement.encoding(), keep(held, measurement.y)
    inside = None
    if isinstance(run, Posterior) and run.sampling.samples > 1:
        drawn = run.draw(without, strength)
        predicted = encoding.forward(drawn.mean)
        count = drawn.samples.shape[1]
        variance = torch.zeros_like(predicted.real)
        for k in range(count):
            one = encoding.forward(drawn.samples[:, k : k + 1]) - predicted
            variance += one.abs().square() / (2 * count)
        at = held.expand(predicted.shape)
        noise_std = measurement.noise_std.reshape(-1, 1, 1, 1).expand(predicted.shape)
        bounds = _bounds(factor**2 * variance[at], noise_std[at], count)
        within = torch.view_as_real((truth - predicted)[at]).abs() <= bounds[:, None]
        inside = int(within.sum())
    else:
        predicted = encoding.forward(run(without, strength))
    error, energy = (float(keep(held, v).abs().double().square().sum()) for v in (truth - predicted, truth))
    samples = held.expand(predicted.shape).flatten(1).sum(1)
    noise = float((2 * measurement.noise_std.double().square().cpu() * samples.cpu()).sum())
    return Withheld(int(samples.sum()), energy, error, noise, inside)


def _bounds(variance: Tensor, noise_std: Tensor, count: int) -> Tensor:
    """Half the 90 % interval of a real component, from its variance over `count` samples.

    Samples are mirrored: `count` real numbers stand behind a variance that real and imaginary part share. It is unsure,
    the noise is known (Satterthwaite 1946).
    """
    noise = noise_std.square()
    freedom = (count * (1 + noise / variance.clamp_min(1e-30)).double().square()).clamp_max(1e6)
    quantile = torch.from_numpy(stdtrit(freedom.cpu().numpy(), (1 + LEVEL) / 2)).to(variance)
    return quantile * (variance + noise).sqrt()


def joined(parts: Sequence[Withheld | None]) -> Withheld | None:
    """The sums of several batches; None where there are none."""
    known = [part for part in parts if part is not None]
    if not known:
        return None
    inside = [part.inside for part in known if part.inside is not None]
    return Withheld(
        sum(part.samples for part in known), sum(part.energy for part in known), sum(part.error for part in known),
        sum(part.noise for part in known), sum(inside) if inside else None,
    )  # fmt: skip

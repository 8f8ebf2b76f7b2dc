"""Do the intervals of posterior samples hold what they claim, and which factor makes them?

K samples predict a real component that they never saw by their mean μ, their standard deviation s, and the noise σ of
what is compared (σ_y for a measured sample). The interval of nominal level L is

    μ ± t_ν(L) √(c² s² + σ²) ,      ν = f (1 + σ² / c² s²)²

with c = 1 for samples as they are. t_ν is Student's quantile, for s is an estimate with f degrees of freedom and σ is
known (Satterthwaite 1946). Patients, not samples, are exchangeable: within one, errors are alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Generator, Tensor

from ambient_mri.errors import InputError
from ambient_mri.evaluation.metrics import Interval, patient_bootstrap
from ambient_mri.operators import Encoding, keep

SMALLEST, LARGEST = 1e-2, 1e2


@dataclass(frozen=True)
class Components:
    """Real numbers of one patient that samples predict, `(n,)` each.

    Parameters
    ----------
    residual
        What was found less the mean of the samples.
    spread
        s, the standard deviation over samples.
    noise_std
        σ of what was found; 0 for a true image.
    freedom
        f: independent real numbers behind each s.
    """

    residual: Tensor
    spread: Tensor
    noise_std: Tensor
    freedom: float

    def __len__(self) -> int:
        return len(self.residual)

    def scale(self, factor: float = 1.0) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """√(c² s² + σ²) and its degrees of freedom ν."""
        spread, noise = (factor * self.spread.double()).square(), self.noise_std.double().square()
        freedom = self.freedom * (1 + noise / spread.clamp_min(1e-30)).square()
        return (spread + noise).sqrt().numpy(), freedom.clamp_max(1e6).numpy()

    def inside(self, level: float, factor: float = 1.0) -> float:
        """The share that lies in its interval of nominal `level`."""
        from scipy.special import stdtrit

        scale, freedom = self.scale(factor)
        bounds = stdtrit(freedom, (1 + level) / 2) * scale
        return float((self.residual.double().abs().numpy() <= bounds).mean())


Patients = Mapping[str, Components]
"""What is compared, by patient."""


def held_out_samples(samples: Tensor, y: Tensor, encoding: Encoding, hidden: Tensor, noise_std: float) -> Components:
    """Measured samples of one slice that were hidden from the sampler, beside what its images say about them.

    Parameters
    ----------
    samples
        Images `(K, y, x)` in mirrored pairs.
    y
        `(1, c, y, x)` what was measured, hidden samples among it.
    encoding
        E of the slice.
    hidden
        Bool `(1, 1, y or 1, x)`: measured, and not shown to the sampler.
    noise_std
        σ_y per real component. Leaving it out (0) makes every interval too narrow: the prediction is of a noisy sample.

    Raises
    ------
    InputError
        If there is but one sample.
    """
    if len(samples) < 2:
        raise InputError("one sample has no spread to calibrate", where="samples", remedy="Draw --samples 2 or more")
    predicted = encoding.forward(samples[:, None])  # (K, c, y, x)
    mean = predicted.mean(0)
    # mirrored samples: their mean takes up none of the spread, so K and not K - 1 divides; two components share it
    spread = ((predicted - mean).abs().square().mean(0) / 2).sqrt()
    at = hidden.expand(y.shape)[0]
    residual = torch.view_as_real((keep(at, y[0]) - mean)[at]).flatten()
    noise = torch.full_like(residual, noise_std)
    return Components(residual.cpu(), spread[at].repeat_interleave(2).cpu(), noise.cpu(), float(len(samples)))


def pixels(mean: Tensor, std: Tensor, truth: Tensor, samples: int, *, least: float = 0.1) -> Components:
    """SIMULATION ONLY: magnitudes of one slice beside the true ones, where there is tissue.

    Parameters
    ----------
    mean, std, truth
        `(y, x)`: the image, the standard deviation of the magnitude over samples, the truth.
    samples
        K; a magnitude has K/2 independent deviations, one a mirrored pair.
    least
        Tissue is where the truth exceeds this share of its maximum. Elsewhere a magnitude has no symmetric interval.
    """
    tissue = truth.abs() > least * truth.abs().max()
    residual, spread = (truth.abs() - mean.abs())[tissue].cpu(), std[tissue].cpu()
    return Components(residual, spread, torch.zeros_like(spread), max(samples / 2, 1.0))


def joined(parts: list[Components]) -> Components:
    """All components of one patient."""
    residual, spread, noise = (
        torch.cat([getattr(part, name) for part in parts]) for name in ("residual", "spread", "noise_std")
    )
    return Components(residual, spread, noise, parts[0].freedom)


def coverage(patients: Patients, level: float, rng: Generator, factor: float = 1.0) -> Interval:
    """Mean over patients of the share inside, and its 95 % interval from drawing patients anew."""
    shares = [components.inside(level, factor) for components in patients.values()]
    return patient_bootstrap(shares, list(patients), rng)


def conformal_factor(patients: Patients, level: float) -> float:
    """The smallest c for which a sample of one more patient lies in its interval with probability `level`, at least.

    Intervals grow with c, so the c from which a sample lies inside is a conformity score (nested sets: Gupta,
    Kuchibhotla, Ramdas 2022). Split conformal prediction over exchangeable patients, each with the same weight
    whatever the number of its samples, takes their quantile at `level` (n + 1)/n (Vovk, Gammerman, Shafer 2005;
    Angelopoulos and Bates 2023; for groups Lee, Barber, Willett 2023).

    Raises
    ------
    InputError
        If there are too few patients for the level, or the noise alone makes intervals that wide.
    """
    count, needed = len(patients), math.ceil(level / (1 - level) - 1e-9)
    if count < needed:
        raise InputError(
            f"{count} patients cannot bound an interval of {level:.0%}: at least {needed} are needed",
            where="validation", remedy="Raise split.validation, or --limit",
        )  # fmt: skip
    wanted = level * (count + 1) / count

    def covered(factor: float) -> float:
        return float(np.mean([components.inside(level, factor) for components in patients.values()]))

    low, high = SMALLEST, LARGEST
    if covered(low) >= wanted:
        raise InputError(
            f"the noise alone covers {covered(low):.1%} of what was held out, so it says nothing about the spread of "
            "samples", where="noise_std", remedy="Check the noise level of the data: it may be overstated",
        )  # fmt: skip
    if covered(high) < wanted:
        raise InputError(
            f"even {high:g} times their spread does not cover {level:.0%} of what was held out: samples agree where "
            "they are wrong", where="calibration", remedy="Draw more --samples or --nfe, or train longer",
        )  # fmt: skip
    while high / low > 1.001:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if covered(middle) >= wanted else (middle, high)
    return high

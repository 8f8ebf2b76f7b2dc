"""How well one scan is explained, without a reference: χ² of the residual over its degrees of freedom, about 1.

On held-out samples the degrees of freedom are their number, as nothing was fitted to them. On what was shown, they are
the number of real components less the effective parameters of the reconstruction, p = tr ∂(A x̂)/∂y. For the posterior
mean of a correct Gaussian prior E‖y - A x̂‖² = σ_y² (m - p) exactly: with S = AΣAᴴ + σ_y² I the residual is σ_y² S⁻¹ y,
of energy σ_y⁴ tr S⁻¹, and m - p = σ_y² tr S⁻¹.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from ambient_mri.errors import InputError
from ambient_mri.evaluation.coverage import Components
from ambient_mri.measurement import Measurement
from ambient_mri.operators import keep

PROBE = 0.1
"""Size of the probe of p in units of σ_y: small beside what moves the image, large beside rounding."""


@dataclass(frozen=True)
class ChiSquared:
    """χ² and its degrees of freedom. Errors within a scan are correlated: the mean is that of χ², the spread larger."""

    value: float
    freedom: float

    @property
    def reduced(self) -> float:
        """About 1 where samples and noise are what they claim; above, the scan is explained worse than claimed."""
        return self.value / self.freedom


def held_out(components: Components, factor: float = 1.0) -> ChiSquared:
    """Of samples that were hidden: Σ r²/(c² s² + σ_y²).

    Degrees of freedom: one each, times ν/(ν - 2), the variance of Student's law, since s is an estimate.

    Raises
    ------
    InputError
        If fewer than four samples stand behind s.
    """
    if components.freedom < 4:
        raise InputError("χ² needs the spread of several samples", where="samples", remedy="Draw --samples 4 or more")
    scale, freedom = components.scale(factor)
    value = float((components.residual.double().numpy() ** 2 / scale**2).sum())
    return ChiSquared(value, float((freedom / (freedom - 2)).sum()))


def of_fit(
    reconstruct: Callable[[Measurement], Tensor], measurement: Measurement, rngs: Sequence[Generator]
) -> list[ChiSquared]:
    """Of what was measured, one a slice: ‖y - A x̂‖²/σ_y² with m - p degrees of freedom.

    p is estimated by one random probe, ⟨b, A x̂(y + εb) - A x̂(y)⟩/ε (Ramani, Blu, Unser 2008): two reconstructions.

    Parameters
    ----------
    reconstruct
        Images `(b, 1, y, x)` of a measurement, the same whenever it is called: samplers seed by the scan.
    rngs
        One a slice, for the probes.

    Raises
    ------
    InputError
        If the data are noiseless.
    """
    if not bool((measurement.noise_std > 0).all()):
        raise InputError("without noise no residual is small or large", where="noise_std",
                         remedy="State the noise of the measurement")  # fmt: skip
    A, y = measurement.operator(), measurement.without_unmeasured().y
    noise = measurement.noise_std[:, None, None, None]
    signs = torch.stack([torch.randint(0, 2, (*y.shape[1:], 2), generator=rng) for rng in rngs]).to(y.device)
    probe = keep(A.mask, torch.view_as_complex(2.0 * signs - 1))
    fitted = A.forward(reconstruct(measurement))
    moved = A.forward(reconstruct(replace(measurement, y=y + PROBE * noise * probe)))
    parameters = (probe.conj() * (moved - fitted) / (PROBE * noise)).real.sum((1, 2, 3))
    energy = ((y - fitted) / noise).abs().square().sum((1, 2, 3))
    count = 2 * A.mask.expand(y.shape).sum((1, 2, 3))
    return [ChiSquared(float(e), float(m - p)) for e, m, p in zip(energy, count, parameters, strict=True)]

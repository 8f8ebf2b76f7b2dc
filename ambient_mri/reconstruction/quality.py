"""Reference-free quality control of a case: figures, and one plain sentence for each that is out of bounds.

The bounds were set on simulated brains (1 to 8 coils, R 2 to 4, noise .005 to .05 of an image of standard deviation
.5), clean and with planted faults: `tests/reconstruction/test_quality.py`. A flag asks somebody to look; no flag
promises that an image is right.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ambient_mri.reconstruction.residual import SliceResidual
from ambient_mri.reconstruction.withheld import LEVEL, Withheld

EXCESS = 2.0
"""χ²/N above which the residual is larger than the noise level allows."""
UNEXPLAINED = 0.0025
"""Share of the measured energy, beyond noise, above which a structured residual matters (5 % in amplitude)."""
STRUCTURED = 0.5
"""Moran's I above which a residual looks like the image."""
DEFICIT = 0.8
"""Of (N - P)/N: below it the residual is smaller than noise can leave, however much was fitted."""
OVERSTATED = 1.5
"""Stated noise over that at the ends of the readout."""
LINE = 6.0
"""Residual of a line beside that of its neighbours, where it is also three times the noise."""
EMPTY = 0.01
"""Share of measured samples that are exactly 0."""
UNPREDICTED = 1.0
"""Error on what was kept back: at 1 an empty image would predict it as well."""
UNCOVERED = 0.75
"""Coverage of 90 % predictive intervals below which standard deviations are too small."""


@dataclass(frozen=True)
class Quality:
    """What is known of a case without a reference. None: cannot be said of this case.

    Parameters
    ----------
    chi2_per_component
        Σ|y - A x̂|²/(N σ²).
    components, lowest_chi2
        N real components measured; (N - P)/N with P of the image: a consistent image lies between it and 1.
    unexplained
        Share of the measured energy that neither image nor noise explains.
    structure
        See `SliceResidual`, mean over slices.
    worst_line, worst_line_slice, worst_line_ratio, worst_line_noise
        The line that stands out most.
    zeros
        Share of measured samples that are exactly 0.
    noise_ratio
        Stated noise over that at the ends of the readout.
    withheld_nmse, coverage
        Of measurements kept back, see `Withheld`.
    """

    chi2_per_component: float | None = None
    components: int | None = None
    lowest_chi2: float | None = None
    unexplained: float | None = None
    structure: float | None = None
    worst_line: int | None = None
    worst_line_slice: int | None = None
    worst_line_ratio: float | None = None
    worst_line_noise: float | None = None
    zeros: float | None = None
    noise_ratio: float | None = None
    withheld_nmse: float | None = None
    coverage: float | None = None

    @classmethod
    def of(
        cls, slices: Sequence[SliceResidual] = (), held: Withheld | None = None, noise_ratio: float | None = None
    ) -> Quality:
        """Figures of a volume from those of its slices; of restored images there is only what was kept back."""
        known: dict[str, Any] = {"noise_ratio": noise_ratio}
        if held is not None:
            known |= {"withheld_nmse": held.nmse, "coverage": held.coverage}
        if not slices:
            return cls(**known)
        components, noise = sum(one.components for one in slices), sum(one.noise for one in slices)
        energy, measured = sum(one.energy for one in slices), sum(one.measured_energy for one in slices)
        known |= {
            "components": components,
            "lowest_chi2": max(0.0, 1 - sum(one.unknowns for one in slices) / components),
            "structure": sum(one.structure for one in slices) / len(slices),
            "zeros": sum(one.zeros for one in slices) / max(1, sum(one.samples for one in slices)),
        }
        if noise > 0 and measured > 0:
            known |= {"chi2_per_component": energy / noise, "unexplained": max(0.0, energy - noise) / measured}
        lines = [(one.line_ratio, number) for number, one in enumerate(slices) if one.line_ratio is not None]
        if lines:
            ratio, number = max(lines)
            worst = slices[number]
            known |= {"worst_line": worst.line, "worst_line_slice": number, "worst_line_ratio": ratio,
                      "worst_line_noise": worst.line_noise}  # fmt: skip
        return cls(**known)

    def facts(self) -> dict[str, float | int]:
        """What is known, for JSON; four significant digits."""
        return {name: value if isinstance(value, int) else float(f"{value:.4g}")
                for name, value in asdict(self).items() if value is not None}  # fmt: skip

    def flags(self) -> tuple[str, ...]:
        """One sentence for each figure out of bounds: what it is, and what to look at."""
        return (*self._measured(), *self._residual(), *self._predicted())

    def _measured(self) -> list[str]:
        found = []
        if self.zeros is not None and self.zeros > EMPTY:
            found.append(
                f"mask and data do not fit: {self.zeros:.0%} of the samples that the mask calls measured are exactly "
                "0; check that the mask belongs to this scan"
            )
        if self.noise_ratio is not None and self.noise_ratio > OVERSTATED:
            found.append(
                f"the stated noise is {self.noise_ratio:.1f} times that at the ends of the readout; check the noise "
                "scan and its units"
            )
        return found

    def _residual(self) -> list[str]:
        found = []
        chi2, structure = self.chi2_per_component, self.structure or 0.0
        alone = (self.worst_line_ratio or 0) > LINE and (self.worst_line_noise or 0) > 3
        if chi2 is not None and self.lowest_chi2 is not None and self.unexplained is not None:
            if chi2 > EXCESS and structure < STRUCTURED and not alone:
                found.append(
                    f"the residual is {chi2**0.5:.1f} times the stated noise and has no structure: the noise level is "
                    "too low, or the method smooths too much; check the noise level"
                )
            elif chi2 > 1 and structure >= STRUCTURED and self.unexplained > UNEXPLAINED:
                found.append(
                    f"data are not explained by the reconstruction: {self.unexplained:.1%} of the measured energy is "
                    "left over and looks like the object; check coil maps, mask, motion"
                )
            elif chi2 < DEFICIT * self.lowest_chi2:
                found.append(
                    f"the residual is only {chi2**0.5:.2f} times the stated noise, less than any fit can leave; check "
                    "the noise level"
                )
        if alone:
            found.append(
                f"slice {(self.worst_line_slice or 0) + 1}: phase-encode line {self.worst_line} (counted from 0) "
                f"stands out {self.worst_line_ratio:.0f}-fold from its neighbours; check for spikes or motion"
            )
        return found

    def _predicted(self) -> list[str]:
        found = []
        if self.withheld_nmse is not None and self.withheld_nmse >= UNPREDICTED:
            found.append(
                "measurements that were kept back are predicted no better than by an empty image "
                f"(error {self.withheld_nmse:.2f} of their energy): what was not measured is not to be trusted"
            )
        if self.coverage is not None and self.coverage < UNCOVERED:
            found.append(
                f"{self.coverage:.0%} of what was kept back lies inside its {LEVEL:.0%} interval: standard deviations "
                "are too small"
            )
        return found

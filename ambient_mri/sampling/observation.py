"""What a posterior sampler is given: y = A x + e for a batch, with any operator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ambient_mri.errors import InputError
from ambient_mri.measurement import DATA_STD, Measurement
from ambient_mri.operators import Masked, Sense, keep
from ambient_mri.prior.preconditioning import LOWEST_SIGMA


@dataclass(frozen=True)
class Observation:
    """A batch of measurements in normalised units. Made `of` a `Measurement`, or with an operator of one's own.

    Parameters
    ----------
    A
        Masked encoding: pixels, Fourier, coils, or any sigpy Linop by `from_sigpy`, of slices or of one volume.
    y
        `(b, c, y, x)` complex64; values where `A.mask` is False are never read. Of a volume b = 1, and its z slices
        are the batch of images.
    noise_std
        `(b,)` σ_y per real component. Samplers do not take it below `LOWEST_SIGMA`: no prior knows finer detail.
    shape
        (y, x) of the images.

    Raises
    ------
    InputError
        If the noise is unknown, there are not as many noise levels as measurements, or there is more than one volume.
    """

    A: Masked
    y: Tensor
    noise_std: Tensor
    shape: tuple[int, int]

    def __post_init__(self) -> None:
        if self.noise_std.shape != (len(self.y),):
            raise InputError(
                f"noise levels of shape {tuple(self.noise_std.shape)} for {len(self.y)} measurements",
                where="noise_std", remedy="Give one σ_y a slice",
            )  # fmt: skip
        if not bool((self.noise_std.isfinite() & (self.noise_std >= 0)).all()):
            raise InputError(
                "the noise of the measurement is unknown, and posterior samples weigh the prior against it",
                where="noise_std",
                remedy="State it (per real component, normalised units), or estimate it by `coils.noise_std`",
            )

        if self.A.slices > 1 and len(self.y) > 1:
            raise InputError(f"{len(self.y)} volumes at once", where="y", remedy="Give one at a time")

    @classmethod
    def of(cls, measurement: Measurement) -> Observation:
        return cls(measurement.operator(), measurement.y, measurement.noise_std, measurement.image_shape)

    def __len__(self) -> int:
        return len(self.y)

    def __getitem__(self, rows: Sequence[int]) -> Observation:
        """A batch of the chosen rows; a row may be chosen several times."""
        index = torch.as_tensor(list(rows), dtype=torch.long, device=self.y.device)
        encoding = self.A.encoding
        if isinstance(encoding, Sense) and len(encoding.maps) > 1:
            encoding = replace(encoding, maps=encoding.maps[index])
        mask = self.A.mask[index] if len(self.A.mask) > 1 else self.A.mask
        return replace(self, A=Masked(encoding, mask), y=self.y[index], noise_std=self.noise_std[index])

    @property
    def variance(self) -> Tensor:
        """σ_y² `(b, 1, 1, 1)`, floored."""
        return self.noise_std.clamp_min(LOWEST_SIGMA).square()[:, None, None, None]

    def noise_in_white(self, sigma: float) -> Tensor:
        """σ_y² / v_σ `(b, 1, 1, 1)`: v_σ = σ² σ_d² / (σ² + σ_d²) is what is unknown of a pixel of white images at σ."""
        return self.variance * (1 / sigma**2 + 1 / DATA_STD**2)

    def residual(self, x: Tensor) -> Tensor:
        """y - A x on what was measured, 0 elsewhere, `(b, c, y, x)`."""
        return keep(self.A.mask, self.y) - self.A.forward(x)

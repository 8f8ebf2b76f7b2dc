"""What a reconstruction leaves unexplained of its own measurement: size, structure, and single bad lines.

No truth is needed. With the right model, r = y - A x̂ is what is left of white noise; anything else has structure.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ambient_mri.fourier import ifft2c
from ambient_mri.measurement import Measurement
from ambient_mri.operators import keep

OBJECT = 0.1  # of the 99 % quantile of an image: what is brighter belongs to the object
NEIGHBOURS = 2  # measured lines on either side that a line is compared with


@dataclass(frozen=True)
class SliceResidual:
    """Sums over one slice; `Quality` adds them up.

    Parameters
    ----------
    energy
        Σ|r|² over measured samples of all coils, normalised units.
    noise
        What noise alone would give: N σ².
    samples, components
        Measured samples of the grid, and N = 2 · coils · samples real components.
    unknowns
        P, real components of the image where the coils see it: a fit can take up to P of the N.
    measured_energy
        Σ|y|².
    structure
        Moran's I of |F⁻¹r|², summed over coils, between neighbouring pixels of the object, less what white noise
        gives through this mask; about 0 for noise, towards 1 for remains of the image.
    line, line_ratio, line_noise
        Of line masks: the line whose residual is largest beside that of the lines next to it, by which factor, and
        its energy in units of the noise. None of masks of points.
    zeros
        Measured samples that are exactly 0 in every coil.
    """

    energy: float
    noise: float
    samples: int
    components: int
    unknowns: int
    measured_energy: float
    structure: float
    line: int | None
    line_ratio: float | None
    line_noise: float | None
    zeros: int


def residuals(measurement: Measurement, image: Tensor) -> list[SliceResidual]:
    """The residual of each slice of a batch of k-space.

    Parameters
    ----------
    image
        `(b, 1, y, x)` complex64, normalised units.
    """
    left = keep(measurement.mask, measurement.y) - measurement.operator().forward(image)
    spread = ifft2c(left).abs().square().sum(1).double()
    mask = measurement.mask.expand(-1, -1, *measurement.image_shape)
    return [
        _slice(measurement[[row]], left[row], spread[row], mask[row, 0], image[row, 0].abs())
        for row in range(len(left))
    ]


def _slice(scan: Measurement, left: Tensor, spread: Tensor, mask: Tensor, magnitude: Tensor) -> SliceResidual:
    measured = keep(scan.mask, scan.y)[0]
    coils, samples = left.shape[0], int(mask.sum())
    sigma, maps = float(scan.noise_std[0]), scan.sensitivity_maps
    seen = mask.numel() if maps is None else int((maps.abs().square().sum(1) > 0.5).sum())
    line, ratio, in_noise = _worst_line(left, scan.mask[0, 0], sigma) if scan.mask.shape[-2] == 1 else (None,) * 3
    return SliceResidual(
        energy=float(left.abs().double().square().sum()),
        noise=2 * coils * samples * sigma**2,
        samples=samples,
        components=2 * coils * samples,
        unknowns=2 * seen,
        measured_energy=float(measured.abs().double().square().sum()),
        structure=_structure(spread, mask, magnitude),
        line=line,
        line_ratio=ratio,
        line_noise=in_noise,
        zeros=int((mask & (measured == 0).all(0)).sum()),
    )


def _structure(spread: Tensor, mask: Tensor, magnitude: Tensor) -> float:
    """Moran's I (Moran 1950) at lag 1, mean of both axes, of residual energy inside the object.

    Complex white noise through a mask has neighbours of correlation h, the point spread function; its energy then has
    |h|² (Isserlis). That much is taken off.
    """
    inside = magnitude >= OBJECT * torch.quantile(magnitude.flatten(), 0.99)  # of an empty image, everything
    response = ifft2c(mask[None, None].to(torch.complex64))[0, 0].abs().square().double()
    centre = tuple(n // 2 for n in mask.shape)
    deviation = spread - spread[inside].mean()
    variance = deviation[inside].square().mean()
    found = []
    for axis in (0, 1):
        length = mask.shape[axis] - 1
        both = inside.narrow(axis, 0, length) & inside.narrow(axis, 1, length)
        product = deviation.narrow(axis, 0, length) * deviation.narrow(axis, 1, length)
        beside = response.select(axis, min(centre[axis] + 1, length))[centre[1 - axis]]
        if bool(both.any()) and float(variance) > 0:
            found.append(float(product[both].mean() / variance - beside / response[centre]))
    return sum(found) / len(found) if found else 0.0


def _worst_line(left: Tensor, mask: Tensor, sigma: float) -> tuple[int | None, float | None, float | None]:
    """(column, residual beside that of the lines next to it, residual over noise) of the line that stands out most."""
    lines = mask[0].nonzero().flatten()
    energy = left.abs().double().square().sum((0, 1))[lines] / (2 * left.shape[0] * left.shape[1])
    if len(lines) < 2 * NEIGHBOURS + 1:
        return None, None, None
    around = torch.nn.functional.pad(energy[None], (NEIGHBOURS, NEIGHBOURS), mode="reflect")[0]
    windows = around.unfold(0, 2 * NEIGHBOURS + 1, 1)
    others = torch.cat([windows[:, :NEIGHBOURS], windows[:, NEIGHBOURS + 1 :]], 1)
    # beside the largest of them: towards the centre of k-space residuals grow by themselves
    ratio = energy / others.sort(1).values[:, -2].clamp_min(1e-30)
    worst = int(ratio.argmax())
    return int(lines[worst]), float(ratio[worst]), float(energy[worst] / sigma**2) if sigma > 0 else None

"""T3: how alike a scan and an image are in what the scan measured. Needs no reconstruction and no clean image.

Images of one organ share their low frequencies, where most energy lies. Whitened by the power of the scans, the
comparison is about what tells patients apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ambient_mri.measurement import Measurement
from ambient_mri.operators import Fourier, Identity, Masked, Sense, keep

Array = npt.NDArray[np.float64]
RANKED_AGAIN = 64


@dataclass(frozen=True)
class Whitening:
    """W² = 1/(power + σ²) on the grid of measurements, `(y, x)`."""

    weight: Tensor

    @classmethod
    def of(cls, scans: Iterable[Measurement]) -> Whitening:
        """From scans of all sides: mean |y|² over whoever measured a sample, on average over coils.

        The noise is in the mean already. In k-space power is averaged over rings of equal |k|, so that a few
        scans suffice; for measured pixels it is kept pixel by pixel.
        """
        energy, seen, rings = torch.zeros(1), torch.zeros(1), True
        for scan in scans:
            mask = scan.mask.expand(-1, -1, *scan.image_shape)
            energy = energy + keep(mask, scan.y).abs().square().mean(1).double().sum(0)
            seen = seen + mask[:, 0].double().sum(0)
            rings = scan.domain == "kspace"
        if rings:
            ring = _ring_numbers((int(energy.shape[-2]), int(energy.shape[-1])))
            energy, seen = (torch.bincount(ring.flatten(), t.flatten())[ring] for t in (energy, seen))
        power = energy / seen.clamp_min(1)
        floor = 1e-6 * float(power.max())
        return cls((1 / power.clamp_min(floor)).float())

    @classmethod
    def none(cls, shape: tuple[int, int]) -> Whitening:
        """Raw similarity, to compare with."""
        return cls(torch.ones(shape))


def _ring_numbers(shape: tuple[int, int]) -> Tensor:
    """round |k| of every k-space sample; the corners share the last rings."""
    y, x = (torch.arange(n) - n // 2 for n in shape)
    scale = max(shape) / torch.tensor(shape)
    return ((y[:, None] * scale[0]).square() + (x[None, :] * scale[1]).square()).sqrt().round().long()


def measured_similarity(
    scans: Measurement, images: Tensor, whitening: Whitening, *, again: int = RANKED_AGAIN
) -> Array:
    """ρ_ij = |⟨y_i, W² A_i g_j⟩| / (‖W y_i‖ ‖W A_i g_j‖) of every scan with every image, `(b, m)`.

    Numerators are one matrix product, ⟨A_iᴴ W² y_i, g_j⟩. So are the denominators where E is unitary (pixels, one
    coil): ‖W A_i g_j‖² = Σ_k M_i(k) W²(k) |E g_j|²(k). With several coils that is an approximation, and for each scan
    the `again` images of highest ρ are computed anew with exact denominators; the others keep at most the lowest of
    those.

    Parameters
    ----------
    scans
        A batch of scans, normalised.
    images
        `(m, 1, y, x)` complex64; their scale does not matter.
    """
    A, y = scans.operator(), scans.without_unmeasured().y
    weighted = whitening.weight.to(y.device) * y
    back = A.adjoint(weighted).flatten(1)
    numerator = (back.conj() @ images.flatten(1).T).abs()
    own = (whitening.weight * y.abs().square()).sum((1, 2, 3)).sqrt()
    unitary = isinstance(A.encoding, Identity | Fourier)
    spectrum = (images if scans.domain == "image" else Fourier().forward(images)).abs().square()
    power = (whitening.weight * spectrum).flatten(1)
    mask = A.mask.expand(-1, 1, *scans.image_shape).float().flatten(1)
    norms = (mask @ power.T).clamp_min(1e-20).sqrt()
    rho = (numerator / (own[:, None] * norms).clamp_min(1e-20)).double()
    if not unitary:
        rho = _exact_of_the_best(rho, numerator, own, A, images, whitening, min(again, len(images)))
    return np.asarray(rho.clamp(0, 1).cpu().numpy(), np.float64)


def _exact_of_the_best(
    rho: Tensor, numerator: Tensor, own: Tensor, A: Masked, images: Tensor, whitening: Whitening, again: int
) -> Tensor:
    chosen = rho.topk(again).indices
    for i, columns in enumerate(chosen):
        seen = _of_one(A, i).forward(images[columns])
        norm = (whitening.weight * seen.abs().square()).sum((1, 2, 3)).sqrt()
        exact = (numerator[i, columns] / (own[i] * norm).clamp_min(1e-20)).double()
        rho[i] = rho[i].clamp_max(float(exact.min()))
        rho[i, columns] = exact
    return rho


def _of_one(A: Masked, i: int) -> Masked:
    """The operator of scan i of a batch."""
    encoding = Sense(A.encoding.maps[i : i + 1]) if isinstance(A.encoding, Sense) else A.encoding
    return Masked(encoding, A.mask[i : i + 1])


def exact_copy_p_value(residual_energy: float, noise_std: float, measured: int) -> float:
    """How well noise alone explains ‖A g - y‖²: the p-value of "y is A g and white noise".

    For an exact noiseless copy ‖A g - y‖²/(2σ²) is Γ(m)-distributed, with m measured complex samples and σ per real
    component. A scan that the image is no copy of gives a value next to 0; 0 also where σ is 0.

    Parameters
    ----------
    residual_energy
        ‖A g - y‖² summed over measured samples of all coils.
    measured
        m, counting each coil.
    """
    from scipy.special import gammaincc

    return float(gammaincc(measured, residual_energy / (2 * noise_std**2))) if noise_std > 0 else 0.0

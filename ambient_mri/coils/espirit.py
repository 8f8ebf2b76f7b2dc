"""Sensitivity maps by ESPIRiT from measured calibration lines only."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ambient_mri.coils.calibration import calibration_region
from ambient_mri.errors import InputError
from ambient_mri.fourier import central
from ambient_mri.operators import PIECE, keep


def espirit_maps(
    y: Tensor, mask: Tensor, *, calibration_width: int = 24, kernel_width: int = 6, threshold: float = 0.02,
    crop: float = 0.95,
) -> Tensor:  # fmt: skip
    """Sensitivity maps by ESPIRiT (Uecker et al., MRM 2014) from the measured calibration lines.

    Equals `sigpy.mri.app.EspiritCalib` where the calibration region is a square of
    `calibration_width`; sigpy knows squares only, while line masks measure long narrow bands, all
    of which count here (readout samples up to 4 · `calibration_width`).

    Parameters
    ----------
    y
        `(b, c, y, x)` complex k-space.
    mask
        Bool `(b, 1, 1, x)` or `(b, 1, y, x)`, True = measured.
    calibration_width
        Most calibration lines used along x (and along y where the mask has two axes).
    kernel_width
        Width of the k-space kernels; made smaller where there are fewer than 2·width − 2 lines.
    threshold
        Singular values of the calibration matrix below this fraction of the largest are noise.
    crop
        Maps are zero where the eigenvalue is below this (outside the object); 0 keeps the field of view.

    Returns
    -------
    `(b, c, y, x)` complex64, Σ_c |S_c|² = 1 on the support, phase relative to the first coil.

    Raises
    ------
    InputError
        If fewer than 3 lines around the centre are measured.
    """
    return torch.stack(
        [
            _espirit(y[i], mask[i, 0], calibration_width, kernel_width, threshold, crop)
            for i in range(len(y))
        ]
    )  # fmt: skip


def _espirit(y: Tensor, mask: Tensor, width: int, kernel_width: int, threshold: float, crop: float) -> Tensor:
    coils, *shape = y.shape
    rows, columns = calibration_region(mask)
    across = 4 * width if mask.shape[0] == 1 else width
    block = y[:, slice(0, shape[0]) if mask.shape[0] == 1 else rows, columns]
    used = (central(n, min(n, most)) for n, most in zip(block.shape[1:], (across, width), strict=True))
    block = block[:, *used]
    if min(block.shape[1:]) < 3:
        raise InputError(
            f"{min(block.shape[1:])} calibration lines are measured around the centre of k-space; sensitivity maps "
            "need 3 or more",
            remedy="State sensitivity_maps: known, or use scans with an autocalibration region",
        )
    w = min(kernel_width, (min(block.shape[1:]) + 2) // 2)
    lags = _lags(_row_space(block, w, threshold).reshape(coils, w, w, -1))
    frequencies = torch.arange(1 - w, w, device=y.device)
    waves = [
        torch.polar(
            torch.ones((), device=y.device),
            2 * math.pi / n * (torch.arange(n, device=y.device) - n // 2)[:, None] * frequencies,
        )
        for n in shape
    ]
    along_x = torch.einsum("xl,ckjl->jxck", waves[1], lags) / w**2
    maps, step = (
        torch.empty((*shape, coils), dtype=y.dtype, device=y.device),
        max(1, 2 * PIECE // (shape[1] * coils**2)),
    )
    start = torch.ones(1, shape[1], coils, dtype=y.dtype, device=y.device)
    for top in range(
        0, shape[0], step
    ):  # some rows at a time, which stay in the cache; each begins where the last ended
        covariance = torch.tensordot(waves[0][top : top + step], along_x, 1)
        values, vectors = dominant_eigenvectors(covariance, start, above=crop)
        start = vectors[-1:]
        maps[top : top + step] = keep(values > crop, vectors)
    maps = maps.permute(2, 0, 1)
    return maps * torch.polar(torch.ones_like(maps[:1].real), -maps[:1].angle())


def _row_space(block: Tensor, w: int, threshold: float) -> Tensor:
    """Orthonormal columns `(c·w·w, k)`: right singular vectors of the matrix of all w × w patches of calibration data.

    From the eigenvectors of the smaller of its two Gram matrices. That squares singular values, which single precision
    stands: `threshold`² is far above its rounding error.
    """
    patches = block.unfold(1, w, 1).unfold(2, w, 1)  # (c, j, k, w, w)
    matrix = patches.permute(1, 2, 0, 3, 4).reshape(-1, len(block) * w * w)
    wide = matrix.shape[0] < matrix.shape[1]
    squares, vectors = torch.linalg.eigh(matrix @ matrix.mH if wide else matrix.mH @ matrix)
    strong = squares > threshold**2 * squares[-1]
    columns: Tensor = vectors[:, strong]
    return matrix.mH @ (columns / squares[strong].sqrt()) if wide else columns


def _lags(kernels: Tensor) -> Tensor:
    """Σ over p − q = l of the projector on kernels `(c, w, w, k)`: `(c, c, 2w − 1, 2w − 1)`, lags l from 1 − w."""
    coils, w = kernels.shape[:2]
    flat = kernels.reshape(coils * w * w, -1)
    projector = (flat.conj() @ flat.T).reshape(coils, w, w, coils, w, w)
    lags = torch.zeros(coils, coils, 2 * w - 1, 2 * w - 1, dtype=kernels.dtype, device=kernels.device)
    for p in range(w):
        for q in range(w):  # all coils and one offset between the rows and columns of q at a time
            lags[:, :, w - 1 - p : 2 * w - 1 - p, w - 1 - q : 2 * w - 1 - q] += projector[:, :, :, :, p, q].permute(
                0, 3, 1, 2
            )
    return lags


def dominant_eigenvectors(
    matrices: Tensor, start: Tensor, *, above: float = 0.0, tolerance: float = 1e-4, at_most: int = 100
) -> tuple[Tensor, Tensor]:
    """Largest eigenvalue `(…, 1)` and its vector `(…, n)` of many positive matrices `(…, n, n)` by power iteration.

    Parameters
    ----------
    start
        First guess, broadcastable to `(…, n)`.
    above
        Eigenvalues well below this one, and their vectors, need not have settled.
    tolerance
        Change of a vector of norm 1 at which it has settled.
    """
    vectors = start
    for done in range(at_most):
        image = torch.matmul(matrices, vectors[..., None])[..., 0]
        values = torch.linalg.vector_norm(torch.view_as_real(image), dim=(-2, -1))[..., None]
        following = image / values.clamp_min(1e-30)
        change = torch.linalg.vector_norm(torch.view_as_real(following - vectors), dim=(-2, -1))
        vectors = following
        if done >= 4 and not bool(((change > tolerance) & (values[..., 0] > 0.9 * above)).any()):
            break
    return values, vectors

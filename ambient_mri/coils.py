"""Receive coils: sensitivity maps from measured calibration lines only, prewhitening, noise level.

Nothing here reads a sample that the mask calls unmeasured, so NaN there changes nothing.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ambient_mri.errors import InputError
from ambient_mri.fourier import ifft2c
from ambient_mri.operators import PIECE, keep


def calibration_region(mask: Tensor) -> tuple[slice, slice]:
    """The fully measured rectangle around the centre of k-space, as (rows, columns).

    Parameters
    ----------
    mask
        Bool `(1, x)` for lines or `(y, x)`; one scan. The centre is index n//2.

    Returns
    -------
    Slices, symmetric about the centre up to the one extra low index of even sizes; empty where the
    centre itself is not measured. A line mask gives all rows, `slice(0, 1)` standing for them.
    """
    rows, columns = mask.shape
    centre_y, centre_x = (0 if rows == 1 else rows // 2), columns // 2
    if not bool(mask[centre_y, centre_x]):
        return slice(centre_y, centre_y), slice(centre_x, centre_x)

    def span(centre: int, half: int, size: int) -> slice:
        return slice(max(centre - half, 0), min(centre + half + 1, size))

    def measured(half_y: int, half_x: int) -> bool:
        return bool(mask[span(centre_y, half_y, rows), span(centre_x, half_x, columns)].all())

    half_y = half_x = 0
    growing = True
    while growing:  # alternately, so that the rectangle stays as square as the mask allows
        growing = False
        if half_y < rows // 2 and measured(half_y + 1, half_x):
            half_y, growing = half_y + 1, True
        if half_x < columns // 2 and measured(half_y, half_x + 1):
            half_x, growing = half_x + 1, True
    return span(centre_y, half_y, rows), span(centre_x, half_x, columns)


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
    block = _centre(block, (min(across, block.shape[1]), min(width, block.shape[2])))
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
        max(1, 4 * PIECE // (shape[1] * coils**2)),
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


def _centre(block: Tensor, size: tuple[int, int]) -> Tensor:
    """The central part of `size` of a block of k-space, its centre n//2 on the new centre."""
    starts = [n // 2 - s // 2 for n, s in zip(block.shape[-2:], size, strict=True)]
    return block[..., starts[0] : starts[0] + size[0], starts[1] : starts[1] + size[1]]


def absorb_phase(maps: Tensor, y: Tensor, mask: Tensor, *, fraction: float = 0.08) -> Tensor:
    """Maps times exp(iφ), φ the phase of the low-resolution image, so that images become nearly real.

    The low-resolution image is Σ_c S̄_c F⁻¹(h y_c) with a Hann window h over the measured
    calibration region only. Any phase that the maps had before cancels. (Prior art: the
    phase-constrained reconstruction of Bydder and Robson, MRM 2005.)

    Parameters
    ----------
    maps
        `(b, c, y, x)` complex.
    y
        `(b, c, y, x)` complex k-space; never read where `mask` is False.
    mask
        Bool `(b, 1, 1, x)` or `(b, 1, y, x)`.
    fraction
        Most of each axis that counts as low resolution: the phase of a fully sampled scan is as
        smooth as that of an undersampled one.

    Returns
    -------
    `(b, c, y, x)` complex64; unchanged for scans whose centre was not measured.
    """
    window = torch.stack([_low_resolution_window(m[0], (y.shape[-2], y.shape[-1]), fraction) for m in mask])[:, None]
    low = (maps.conj() * ifft2c(window * keep(window > 0, y))).sum(1, keepdim=True)
    phase = torch.polar(torch.ones_like(low.real), low.angle())
    return maps * phase


def _low_resolution_window(mask: Tensor, shape: tuple[int, int], fraction: float) -> Tensor:
    region = calibration_region(mask)
    window = torch.ones(1, device=mask.device)
    for axis, (n, span) in enumerate(zip(shape, region, strict=True)):
        distance = (torch.arange(n, device=mask.device) - n // 2).abs()
        if mask.shape[axis] == 1:
            half = n // 2
        else:
            half = min(n // 2 - span.start, span.stop - 1 - n // 2) if span.stop > span.start else -1
        half = min(half, max(round(fraction * n / 2), 2))
        profile = 0.5 + 0.5 * torch.cos(math.pi * distance / (half + 1)) if half >= 0 else torch.zeros_like(window)
        window = window[..., None] * torch.where(distance <= half, profile, 0.0)
    return window[0]


def prewhiten(y: Tensor, noise_scan: Tensor) -> Tensor:
    """Coils combined so that their noise is white with standard deviation 1 per real component.

    Parameters
    ----------
    y
        `(b, c, y, x)` complex k-space.
    noise_scan
        `(c, ...)` complex samples acquired without excitation, same coils.

    Returns
    -------
    L⁻¹ y with L Lᴴ = ½ E[n nᴴ] (Pruessmann et al., MRM 2001). Estimate maps after this step.

    Raises
    ------
    InputError
        If the coils differ or the noise scan has too few samples or a dead coil.
    """
    coils = y.shape[1]
    samples = noise_scan.reshape(noise_scan.shape[0], -1)
    if samples.shape[0] != coils:
        raise InputError(
            f"the noise scan has {samples.shape[0]} coils, the data {coils}", remedy="Use the noise scan of this exam"
        )
    covariance = samples @ samples.mH / (2 * samples.shape[1])
    factor, failed = torch.linalg.cholesky_ex(covariance)
    if samples.shape[1] < 2 * coils or int(failed):
        raise InputError(
            f"the noise scan ({samples.shape[1]} samples) gives a singular covariance of {coils} coils",
            remedy="Leave dead coils out, or use a longer noise scan",
        )
    whitened: Tensor = torch.linalg.solve_triangular(factor, y.permute(1, 0, 2, 3).reshape(coils, -1), upper=False)
    return whitened.reshape(coils, y.shape[0], *y.shape[2:]).permute(1, 0, 2, 3)


def noise_std(samples: Tensor) -> float:
    """Standard deviation per real component of complex samples that are noise for the most part.

    From the median of |z|², which for white noise is 2σ² ln 2: a minority of samples with signal
    moves it little.
    """
    if samples.numel() == 0:
        raise InputError("no samples to estimate the noise from", remedy="State noise_std in the data spec")
    power = samples.abs().square().flatten().double()
    return math.sqrt(float(power.median()) / (2 * math.log(2)))


def edge_samples(y: Tensor, mask: Tensor, *, fraction: float = 0.06) -> Tensor:
    """Measured samples at both ends of the readout, where k-space holds little but noise: for `noise_std`.

    Parameters
    ----------
    y
        `(b, c, y, x)` complex k-space.
    mask
        Bool `(b, 1, 1, x)` or `(b, 1, y, x)`.
    fraction
        Of the readout (y), at each end. Scanners filter the outermost samples: compare with a
        noise scan where there is one.
    """
    rows = max(1, round(fraction * y.shape[-2]))
    measured = mask.expand(y.shape).clone()
    measured[..., rows : y.shape[-2] - rows, :] = False
    return y[measured]

"""Centred orthonormal Fourier transforms: the only shifts and norms in the package.

The centre of an axis of length n is index n//2 in both domains, so
``fft2c(x) = fftshift(fft2(ifftshift(x), norm="ortho"))``. For even n the two shifts equal a
multiplication by (-1)^j on either side, which is exact and costs less than moving memory.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(maxsize=64)
def _alternating(sizes: tuple[int, ...], device: torch.device) -> Tensor:
    """(-1)^(j₁+j₂+…) over a grid of even `sizes`."""
    with torch.inference_mode(False):  # cached: an evaluation must not leave behind a tensor that training cannot use
        sign = torch.ones((), device=device)
        for n in sizes:
            sign = sign[..., None] * (1.0 - 2.0 * (torch.arange(n, device=device) % 2))
        return sign


def _centred(transform: Callable[..., Tensor], x: Tensor, dim: tuple[int, ...]) -> Tensor:
    sizes = tuple(x.shape[d] for d in dim)
    if any(n % 2 for n in sizes):
        moved = transform(torch.fft.ifftshift(x, dim=dim), dim=dim, norm="ortho")
        shifted: Tensor = torch.fft.fftshift(moved, dim=dim)
        return shifted
    sign = _alternating(sizes, x.device)
    # exp(-2πi (j-n/2)(k-n/2)/n) = exp(-2πi jk/n) (-1)^j (-1)^k (-1)^(n/2)
    flip = -1.0 if sum(n // 2 for n in sizes) % 2 else 1.0
    spectrum: Tensor = transform(x * sign, dim=dim, norm="ortho") * (flip * sign)
    return spectrum


def fft2c(image: Tensor) -> Tensor:
    """Centred orthonormal 2-D FFT over the last two axes, any leading axes."""
    return _centred(torch.fft.fft2, image, (-2, -1))


def ifft2c(kspace: Tensor) -> Tensor:
    """Inverse (and adjoint) of `fft2c`."""
    return _centred(torch.fft.ifft2, kspace, (-2, -1))


def fft1c(image: Tensor) -> Tensor:
    """Centred orthonormal FFT over the last axis (phase encoding)."""
    return _centred(torch.fft.fftn, image, (-1,))


def ifft1c(kspace: Tensor) -> Tensor:
    """Inverse (and adjoint) of `fft1c`."""
    return _centred(torch.fft.ifftn, kspace, (-1,))


def central(n: int, kept: int) -> slice:
    """The `kept` indices of an axis of length n whose centre kept//2 is the centre n//2."""
    first = n // 2 - kept // 2
    return slice(first, first + kept)


def natural_order(weight: Tensor) -> Tensor:
    """A weight on centred k-space as `filtered` wants it, real; axes of length 1 stand for all of k-space."""
    shifted: Tensor = torch.fft.ifftshift(weight, dim=[d for d in (-2, -1) if weight.shape[d] > 1])
    return shifted.to(torch.float32) if weight.dtype == torch.bool else shifted


def filtered(images: Tensor, weight: Tensor) -> Tensor:
    """F⁻¹ diag(w) F of images, F as in `fft2c`, without a single shift.

    The shifts of F around the images turn into phases of k-space, which cancel between F and its inverse; those of
    k-space are done once, on the weight. Exact for every size. A weight of one row commutes with the transform along y,
    which drops out.

    Parameters
    ----------
    weight
        `(…, y or 1, x)` real, in `natural_order`.
    """
    axes = (-1,) if weight.shape[-2] == 1 else (-2, -1)
    image: Tensor = torch.fft.ifftn(torch.fft.fftn(images, dim=axes) * weight, dim=axes)
    return image

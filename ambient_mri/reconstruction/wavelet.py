"""Wavelet sparsity: shrinkage of the coefficients of a batch of images, and FISTA around it.

A level of the wavelet transform is a matrix along each axis, with few diagonals: at the sizes of MRI slices products
with its blocks beat convolutions. The matrices come from PyWavelets, with zeros beyond the edges as in sigpy: for
orthogonal wavelets an isometry whose inverse is its transpose.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pywt
import torch
from torch import Tensor

BLOCK = 32
"""Rows of a block: fewer cost more calls, more multiply more zeros."""


@dataclass(frozen=True)
class _Banded:
    """A matrix whose entries lie near its diagonal, as blocks of rows, each from its first to its last column."""

    blocks: tuple[tuple[slice, Tensor], ...]

    @classmethod
    def of(cls, matrix: npt.NDArray[np.float64]) -> _Banded:
        blocks = []
        for first in range(0, len(matrix), BLOCK):
            rows = matrix[first : first + BLOCK]
            used = np.flatnonzero(rows.any(0))
            columns = slice(int(used[0]), int(used[-1]) + 1)
            with torch.inference_mode(False):
                blocks.append((columns, torch.tensor(rows[:, columns], dtype=torch.float32)))
        return cls(tuple(blocks))

    def along_y(self, planes: Tensor) -> Tensor:
        return torch.cat([block.to(planes) @ planes[..., columns, :] for columns, block in self.blocks], -2)

    def along_x(self, planes: Tensor) -> Tensor:
        return torch.cat([planes[..., columns] @ block.to(planes).T for columns, block in self.blocks], -1)


@lru_cache(maxsize=64)
def _level(n: int, wavelet: str) -> tuple[_Banded, _Banded]:
    """Analysis `(2m, n)`, low-pass and high-pass rows in turns, and synthesis `(n, 2m)`."""
    analysis = np.concatenate(pywt.dwt(np.eye(n), wavelet, mode="zero", axis=0))
    halves = np.split(np.eye(len(analysis)), 2)
    synthesis = pywt.idwt(*halves, wavelet, mode="zero", axis=0)[:n]
    in_turns = np.arange(len(analysis)).reshape(2, -1).T.ravel()
    return _Banded.of(analysis[in_turns]), _Banded.of(synthesis[:, in_turns])


def levels(shape: tuple[int, int], wavelet: str) -> int:
    """As many as the wavelet fits into an image of `shape`."""
    return int(pywt.dwtn_max_level([n + n % 2 for n in shape], wavelet))


def shrink(images: Tensor, threshold: float, wavelet: str) -> Tensor:
    """Wᴴ soft(W x) of complex images `(b, 1, y, x)`: the proximal map of ‖Wx‖₁ where W is orthogonal."""
    y, x = images.shape[-2:]
    planes = torch.stack([images.real, images.imag])
    planes = torch.nn.functional.pad(planes, (x % 2, 0, y % 2, 0))  # to even sizes, as sigpy does
    shrunk = _shrink(planes, threshold, wavelet, levels((y, x), wavelet))[..., y % 2 :, x % 2 :]
    return torch.complex(*shrunk)


def _shrink(planes: Tensor, threshold: float, wavelet: str, level: int) -> Tensor:
    """`shrink` of real and imaginary planes, `level` levels deep."""
    if level == 0:
        return _soft(planes, threshold)
    (down_y, up_y), (down_x, up_x) = (_level(n, wavelet) for n in planes.shape[-2:])
    bands = down_y.along_y(down_x.along_x(planes))
    coarse = _shrink(bands[..., ::2, ::2].contiguous(), threshold, wavelet, level - 1)
    bands = _soft(bands, threshold)
    bands[..., ::2, ::2] = coarse
    return up_x.along_x(up_y.along_y(bands))


def _soft(planes: Tensor, threshold: float) -> Tensor:
    length = planes.square().sum(0).sqrt_()
    return planes * (1 - threshold / length.clamp_min(max(threshold, 1e-30)))


def fista(
    gradient: Callable[[Tensor], Tensor], prox: Callable[[Tensor, int], Tensor], start: Tensor, iterations: int
) -> Tensor:
    """Minimum of f + g from `start`, step 1 (Beck and Teboulle 2009).

    Parameters
    ----------
    gradient
        ∇f, of Lipschitz constant at most 1.
    prox
        Proximal map of g, given the number of the iteration.
    """
    x = ahead = start
    t = 1.0
    for k in range(iterations):
        following = prox(ahead - gradient(ahead), k)
        faster = (1 + (1 + 4 * t * t) ** 0.5) / 2
        ahead = following + (t - 1) / faster * (following - x)
        x, t = following, faster
    return x

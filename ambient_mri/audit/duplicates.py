"""Who is in the cohort twice? Two records of one patient on both sides of a split look like a copied patient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ambient_mri.audit.embedder import normalised
from ambient_mri.audit.search import Features, distance, nearest, unit
from ambient_mri.fourier import fft2c

BAND = 12
"""|k| up to which patients are compared, of 32 in pictures of 64 x 64: finer detail differs between scans."""


@dataclass(frozen=True)
class Duplicate:
    """Two slices that are said to be of different patients and look like the same one."""

    first: int
    second: int
    similarity: float
    ratio: float


def anatomy(pictures: Tensor) -> Features:
    """Unit features of who is pictured: without the mean picture, every ring of k-space up to `BAND` equally strong.

    Unlike those of the embedder they are not blind to position, which is the same in two scans of one head that were
    aligned, and need no training.

    Parameters
    ----------
    pictures
        `(n, 1, y, x)`.
    """
    kspace = fft2c((normalised(pictures) - normalised(pictures).mean(0, keepdim=True)).to(torch.complex64))[:, 0]
    y, x = (torch.arange(n) - n // 2 for n in kspace.shape[-2:])
    ring = (y[:, None].square() + x[None].square()).sqrt().round().long()
    power = torch.bincount(ring.flatten(), kspace.abs().square().mean(0).flatten()) / torch.bincount(ring.flatten())
    weight = torch.where(ring <= BAND, power[ring].clamp_min(1e-12).rsqrt(), 0.0).float()
    return unit(torch.view_as_real(kspace * weight)[:, ring <= BAND].flatten(1).numpy())


def near_duplicates(
    features: Features, patients: Sequence[str], *, ratio: float = 0.8, neighbours: int = 12
) -> list[Duplicate]:
    """Pairs of slices of different patients that are each other's nearest, and far nearer than anybody else.

    Parameters
    ----------
    features
        Unit features of the whole cohort, such as `anatomy`.
    ratio
        d₁/d₂ below which a pair is reported: distance to the nearest other patient over that to the second nearest.
    """
    codes = np.unique(np.asarray(patients), return_inverse=True)[1]
    most = int(np.bincount(codes).max())
    found = nearest(features, features, min(neighbours + 2 * most, len(features)))
    closest: dict[int, tuple[int, float, float]] = {}
    for row, (index, cosine) in enumerate(zip(found.index, found.similarity, strict=True)):
        whose = codes[index]
        others = np.flatnonzero(whose != codes[row])
        if not len(others):
            continue
        beyond = others[whose[others] != whose[others[0]]]
        far = distance(cosine)
        second = far[beyond[0]] if len(beyond) else far[-1]
        closest[row] = int(index[others[0]]), float(cosine[others[0]]), float(far[others[0]] / max(second, 1e-12))
    return [
        Duplicate(row, other, cosine, apart)
        for row, (other, cosine, apart) in closest.items()
        if row < other and closest.get(other, (-1,))[0] == row and max(apart, closest[other][2]) < ratio
    ]

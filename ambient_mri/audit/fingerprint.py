"""T7 (experimental): does a sample carry the noise of one recording? No other scan of that patient has it.

Only samples of k-space (or pixels) are looked at where noise outweighs what is imaged. There y = s + n, with anatomy s
and white noise n. Whatever an image u shows, as long as it knows nothing of n the least ‖y - α u‖² over α is that of
m - 1 dimensions of noise and of anatomy left over: it is stochastically larger than 2σ² Γ(m - 1), even for a perfect
copy of the anatomy. An image that comes nearer than that knows the noise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ambient_mri.audit.cohort import Side, only
from ambient_mri.audit.measured_space import MeasuredSpace
from ambient_mri.audit.similarity import Whitening

Array = npt.NDArray[np.float64]
NOISE_SHARE = 0.5
"""Least share of noise in the mean power of a sample of k-space that is looked at."""
FEWEST_SAMPLES = 100
LEVEL = 0.01


@dataclass(frozen=True)
class Fingerprint:
    """The answer of T7.

    Parameters
    ----------
    samples
        Median number m of samples of a scan, coils counted, in which noise outweighs anatomy.
    train, hold
        Patients whose noise some image knows, at an error of 1 % over all scans of a side and all images. Of the
        hold-out any at all means that the noise of the scans is stated too high, and that `train` means nothing.
    patients
        Of each side, who have a scan with such samples.
    """

    samples: int
    train: int
    hold: int
    patients: tuple[int, int]


def fingerprint(
    train: Side, hold: Side, images: Tensor, whitening: Whitening, progress: Callable[[str], None] = lambda line: None
) -> Fingerprint | None:
    """Compare images with the noise of scans; None where scans have too little noise for one.

    Parameters
    ----------
    images
        `(n, 1, y, x)` complex64. A magnitude has lost half of the noise, and is hardly ever recognised.
    whitening
        Its inverse is the mean power of scans.
    """
    counts, known, patients = [], [], []
    for side in (train, hold):
        band = noise_band(side, whitening)
        m = np.array([int(scan.samples) for scan in band.scans])
        if np.median(m) < FEWEST_SAMPLES:
            return None
        enough = np.flatnonzero(m > 1).tolist()  # one scale fits one sample exactly, whatever the image
        band, m = only(band, enough), m[enough]
        tried = 2 * len(images) * len(band)  # mirrored too
        p = noise_p_values(unexplained(band, images, progress), m)
        counts.append(m)
        known.append(len({name for name, value in zip(band.patients, p, strict=True) if value < LEVEL / tried}))
        patients.append(len(set(band.patients)))
    return Fingerprint(int(np.median(np.concatenate(counts))), known[0], known[1], (patients[0], patients[1]))


def noise_band(side: Side, whitening: Whitening) -> Side:
    """The scans of a side with only those of their samples in which noise outweighs anatomy."""
    power = 1 / whitening.weight
    scans = []
    for scan in side.scans:
        quiet = 2 * scan.noise_std[0].square() >= NOISE_SHARE * power
        mask = scan.mask.expand(-1, -1, *scan.image_shape) & quiet
        scans.append(replace(scan, mask=mask).without_unmeasured())
    return replace(side, scans=tuple(scans))


def unexplained(side: Side, images: Tensor, progress: Callable[[str], None] = lambda line: None) -> Array:
    """min over images and scales α of ‖y - α A g‖²/(2σ²), for every scan: what the nearest image leaves over."""
    space = MeasuredSpace(torch.zeros_like(images[:1]), Whitening.none(side.scans[0].image_shape))
    rho = space.closest_images(side, images, progress).similarity
    energy = np.array([float(scan.y.abs().square().sum()) for scan in side.scans])
    noise = np.array([float(2 * scan.noise_std[0].square()) for scan in side.scans])
    return np.asarray(energy * (1 - rho**2) / np.maximum(noise, 1e-30), np.float64)


def noise_p_values(unexplained: Array, samples: Sequence[int] | npt.NDArray[np.int64]) -> Array:
    """P(Γ(m - 1) ≤ what is left over), of a scan and one image that knows nothing of its noise.

    Parameters
    ----------
    unexplained
        ‖y - α A g‖²/(2σ²) at the best α.
    samples
        m, coils counted.
    """
    from scipy.special import gammainc

    return np.asarray(gammainc(np.maximum(np.asarray(samples) - 1, 1), unexplained), np.float64)

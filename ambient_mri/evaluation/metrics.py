"""Figures of merit in the conventions of fastMRI (Zbontar et al., arXiv 1811.08839), and their intervals.

All compare magnitude volumes `(s, y, x)`; the data range is the largest value of the true volume.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import norm
from scipy.stats import t as student_t
from torch import Generator

from ambient_mri.evaluation.features import scattering

Volume = npt.NDArray[np.floating]

SSIM_WINDOW = 7


@dataclass(frozen=True)
class Interval:
    """A mean over patients and its 95 % interval."""

    mean: float
    low: float
    high: float


def psnr(truth: Volume, image: Volume) -> float:
    """10 log₁₀(max(truth)² / mean squared error over the volume), dB; scikit-image's."""
    from skimage.metrics import peak_signal_noise_ratio

    figure: Any = peak_signal_noise_ratio  # untyped
    return float(figure(truth, image, data_range=float(truth.max())))


def ssim(truth: Volume, image: Volume) -> float:
    """Structural similarity (Wang et al. 2004), uniform 7×7 window, mean over slices; scikit-image's."""
    from skimage.metrics import structural_similarity

    figure: Any = structural_similarity  # untyped
    peak = float(truth.max())
    slices = zip(truth, image, strict=True)
    return float(np.mean([figure(t, i, data_range=peak, win_size=SSIM_WINDOW) for t, i in slices]))


def nmse(truth: Volume, image: Volume) -> float:
    """‖image − truth‖² / ‖truth‖² over the volume."""
    return float(np.sum((image - truth) ** 2) / np.sum(truth**2))


def feature_distance(truth: Volume, image: Volume) -> float:
    """Root mean square difference of scattering features (Bruna and Mallat 2013), mean over slices.

    Features are logarithms of how much there is of each octave and direction, and grey values on a 4 × 4 grid, of
    images of which the true volume has root mean square 1: .1 is 10 % too much or too little, as of texture that was
    smoothed away. Position within the image hardly counts.
    """
    size = max(float(np.sqrt(np.mean(np.square(truth, dtype=np.float64)))), float(np.finfo(np.float32).tiny))
    pairs = [scattering((np.stack(pair) / size).astype(np.float32)) for pair in zip(truth, image, strict=True)]
    return float(np.mean([np.sqrt(np.mean((true - found) ** 2)) for true, found in pairs]))


def patient_means(values: Sequence[float], patients: Sequence[str]) -> list[float]:
    """Mean over the values of each patient, in the order of their first."""
    by_patient: dict[str, list[float]] = {}
    for value, patient in zip(values, patients, strict=True):
        by_patient.setdefault(patient, []).append(value)
    return [float(np.mean(own)) for own in by_patient.values()]


def patient_bootstrap(
    values: Sequence[float], patients: Sequence[str], rng: Generator, *, resamples: int = 4000
) -> Interval:
    """Mean over patients of `values` and its 95 % expanded percentile interval (Hesterberg 2015, The American
    Statistician 69(4)).

    The percentiles are those of a Student interval, for a plain percentile interval holds the mean of 8 patients 87
    times in a hundred. Of fewer than five it cannot be wider than their range, which is too narrow still.

    Parameters
    ----------
    values
        One for each volume (or slice).
    patients
        Whose it is. A patient's values are averaged first: patients, not slices, are drawn anew.
    rng
        The interval's only randomness.
    """
    means = torch.tensor(patient_means(values, patients), dtype=torch.float64)
    draws = torch.randint(len(means), (resamples, len(means)), generator=rng)
    count = max(len(means), 2)
    tail = float(norm.sf((count / (count - 1)) ** 0.5 * student_t.ppf(0.975, count - 1)))
    low, high = torch.quantile(means[draws].mean(1), torch.tensor([tail, 1 - tail], dtype=torch.float64)).tolist()
    return Interval(float(means.mean()), low, high)

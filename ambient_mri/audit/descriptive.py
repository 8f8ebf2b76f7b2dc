"""Published figures of copying, to compare with other work. They decide nothing: all count slices, not patients.

Slices of one patient resemble each other, so that none of these has a known error on volumes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from ambient_mri.audit.search import Features, Neighbours, distance, nearest

Array = npt.NDArray[np.float64]
MOST = 2000
"""At most so many samples and slices enter the likelihoods."""
STEPS, RATE = 60, 0.2
LEAST_LOG_VARIANCE, LARGEST_LOG_VARIANCE = -12.0, 4.0


@dataclass(frozen=True)
class Descriptive:
    """Three figures.

    Parameters
    ----------
    c_t
        C_T (Meehan, Chaudhuri and Dasgupta 2020, one cell): z of the Mann-Whitney test of whether samples lie farther
        from the training than hold-out slices do. Far below 0: copying.
    authentic
        AuthPct (Alaa et al. 2022): share of samples that are farther from their nearest training slice than that slice
        is from any other patient's.
    likelihood_gap
        Generalization gap of the feature likelihood divergence (Jiralerspong et al. 2023, eq. 5): mean log-likelihood
        of training less hold-out slices, in hundredths of a nat a dimension, under Gaussians around the samples.
    """

    c_t: float
    authentic: float
    likelihood_gap: float


def describe_copying(
    samples: Features, train: Features, hold: Features, patients: Sequence[str], rng: np.random.Generator
) -> Descriptive:
    """All three.

    Parameters
    ----------
    samples, train, hold
        Unit features.
    patients
        Whose each row of `train` is.
    """
    found = nearest(samples, train)
    return Descriptive(
        c_t(distance(found.similarity[:, 0]), distance(nearest(hold, train).similarity[:, 0])),
        authentic(found, train, patients),
        likelihood_gap(*(rows[rng.permutation(len(rows))[:MOST]] for rows in (samples, train, hold))),
    )


def c_t(samples: Array, hold: Array) -> float:
    """z of the Mann-Whitney statistic of two sets of distances to the training, positive where samples are farther."""
    from scipy.stats import rankdata

    m, n = len(samples), len(hold)
    ranks = rankdata(np.concatenate([samples, hold]))
    u = float(ranks[:m].sum()) - m * (m + 1) / 2
    return (u - m * n / 2) / math.sqrt(m * n * (m + n + 1) / 12)


def authentic(found: Neighbours, train: Features, patients: Sequence[str]) -> float:
    """Share of samples farther from their nearest training slice than that is from the nearest of another patient.

    Parameters
    ----------
    found
        Of the samples, among `train`.
    """
    codes = np.unique(np.asarray(patients), return_inverse=True)[1]
    most = int(np.bincount(codes).max())
    chosen, place = np.unique(found.index[:, 0], return_inverse=True)
    around = nearest(train[chosen], train, most + 1)
    other = codes[around.index] != codes[chosen][:, None]
    if not other.any(1).all():
        return math.nan  # one patient alone
    beside = around.similarity[np.arange(len(chosen)), other.argmax(1)]
    return float((distance(found.similarity[:, 0]) > distance(beside)[place]).mean())


def likelihood_gap(samples: Features, train: Features, hold: Features) -> float:
    """100/d (mean log p(train) - mean log p(hold-out)); the widths of the Gaussians are fitted to the training.

    A sample that is a copy explains its slice with a narrow Gaussian, which explains no hold-out slice.
    """
    centre, spread = train.mean(0), max(float(train.std()), 1e-9)
    given = [torch.from_numpy((rows - centre) / spread).float() for rows in (samples, train, hold)]
    to_train, to_hold = (torch.cdist(rows, given[0]).square() for rows in given[1:])
    dimensions = samples.shape[1]
    log_variance = torch.zeros(len(samples), requires_grad=True)

    def log_likelihood(squared: torch.Tensor) -> torch.Tensor:
        width = log_variance.clamp(LEAST_LOG_VARIANCE, LARGEST_LOG_VARIANCE)
        exponent = -squared / (2 * width.exp()) - dimensions / 2 * (width + math.log(2 * math.pi))
        return (torch.logsumexp(exponent, 1) - math.log(len(samples))).mean()

    optimiser = torch.optim.Adam([log_variance], RATE)
    for _ in range(STEPS):
        optimiser.zero_grad()
        (-log_likelihood(to_train)).backward()
        optimiser.step()
    with torch.no_grad():
        return 100 / float(dimensions) * float(log_likelihood(to_train) - log_likelihood(to_hold))

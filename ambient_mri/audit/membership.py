"""T4: does the prior know measurements that it was trained on better than those of patients it never saw?

Samples that look like nobody do not clear a generator; this test asks the denoiser itself. A part of a scan is shown
to it, and the rest must be predicted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ambient_mri.audit.similarity import Whitening
from ambient_mri.corruption import FurtherLaw
from ambient_mri.measurement import Measurement
from ambient_mri.operators import keep
from ambient_mri.prior.objective import corrupt_further
from ambient_mri.prior.preconditioning import LOWEST_SIGMA, Prior
from ambient_mri.randomness import stream, white

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Membership:
    """The answer of T4.

    Parameters
    ----------
    gap, low, high
        G(σ) = mean_hold log e - mean_train log e at every noise level, with its 95 % patient-bootstrap interval.
        Positive: training patients are recovered better.
    p_value
        One-sided, of the gap averaged over levels, by permuting patients.
    mean, mean_low, mean_high
        That average and its interval.
    auc
        Chance that a training patient is recovered better than a hold-out patient, with its interval.
    sensitivity_at_1_percent
        Share of training patients recovered better than all but 1 % of the hold-out patients.
    units
        Patients of both sides.
    """

    gap: Array
    low: Array
    high: Array
    p_value: float
    mean: float
    mean_low: float
    mean_high: float
    auc: float
    auc_low: float
    auc_high: float
    sensitivity_at_1_percent: float
    units: int


def by_patient(rows: npt.NDArray[np.floating], patients: Sequence[str]) -> Array:
    """Mean row of every patient, in the order of their first slice; of log errors `(slices, levels)`, or features."""
    names, who = list(dict.fromkeys(patients)), np.asarray(patients)
    return np.stack([rows[who == name].mean(0) for name in names]).astype(np.float64)


def less_difficulty(log_errors: Array, reference: Array) -> Array:
    """What of patients' log errors a model that saw none of them does not explain, `(patients, levels)`.

    Some patients are hard for every model. At each level the part that is linear in the reference's log errors is
    taken off (difficulty calibration: Watson et al. 2022, eq. 2, with a fitted slope). Training and hold-out patients
    are fitted together, so exchangeable patients stay exchangeable and the test stays exact.

    Parameters
    ----------
    log_errors, reference
        `(patients, levels)` of the model and of the reference, training and hold-out pooled, in the same order and
        under the same draws.
    """
    errors, other = log_errors - log_errors.mean(0), reference - reference.mean(0)
    slope = (errors * other).sum(0) / np.maximum((other**2).sum(0), 1e-12)
    return np.asarray(errors - slope * other)


def membership(
    train: Array, hold: Array, rng: np.random.Generator, *, resamples: int = 2000, permutations: int = 4999
) -> Membership:
    """Compare patients' log errors at every noise level.

    Parameters
    ----------
    train, hold
        `(patients, levels)`: mean log e(σ) over the slices of a patient (`by_patient`).
    """
    score = np.concatenate([train, hold]).mean(1)
    n = len(train)
    gap, mean = hold.mean(0) - train.mean(0), float(score[n:].mean() - score[:n].mean())

    shuffled = np.stack([rng.permutation(score) for _ in range(permutations)])
    null = shuffled[:, n:].mean(1) - shuffled[:, :n].mean(1)
    p_value = (1 + int((null >= mean).sum())) / (permutations + 1)

    gaps, aucs = [], []
    for _ in range(resamples):
        t, h = rng.integers(n, size=n), rng.integers(len(hold), size=len(hold))
        gaps.append(hold[h].mean(0) - train[t].mean(0))
        aucs.append(auc(score[:n][t], score[n:][h]))
    low, high = np.quantile(np.stack(gaps), [0.025, 0.975], axis=0)
    mean_low, mean_high = np.quantile(np.stack(gaps).mean(1), [0.025, 0.975])
    auc_low, auc_high = np.quantile(aucs, [0.025, 0.975])
    cut = np.quantile(score[n:], 0.01, method="lower")
    return Membership(
        gap, low, high, p_value, mean, float(mean_low), float(mean_high), auc(score[:n], score[n:]), float(auc_low),
        float(auc_high), float((score[:n] < cut).mean()), len(score),
    )  # fmt: skip


def auc(lower: Array, upper: Array) -> float:
    """P(a < b) + ½ P(a = b) for a of `lower`, b of `upper`."""
    ordered = np.sort(upper)
    below = np.searchsorted(ordered, lower, "right")
    equal = below - np.searchsorted(ordered, lower, "left")
    return float((len(upper) - below + equal / 2).mean() / len(upper))


@torch.no_grad()
def withheld_errors(
    prior: Prior, scans: Iterable[Measurement], law: FurtherLaw, whitening: Whitening, levels: Sequence[float],
    *, seed: int, draws: int = 1,
) -> Array:  # fmt: skip
    """log e(σ) of every slice, `(slices, levels)`.

    e(σ) = ‖W [(A - Ã) h(Ãᴴ ỹ_σ, Ã, σ) - (y - D y)]‖² / m over the m samples that D hid.

    Parameters
    ----------
    scans
        Batches of any size; slice i sees the same D and noise whatever the batches.
    law
        The training's law of D.
    levels
        σ per real component; raised to the noise of the scan where that is higher.
    seed, draws
        Each slice is measured with `draws` draws of D, and log e is averaged.
    """
    rows: list[Tensor] = []
    first = 0
    for batch in scans:
        A, y = batch.operator(), batch.without_unmeasured().y
        weight = whitening.weight.to(y.device)
        total = torch.zeros(len(batch), len(levels), dtype=torch.float64)
        for k in range(draws):
            rngs = [stream(seed, "membership", k, first + i) for i in range(len(batch))]
            further = law.draw(A, rngs, batch.component)
            shown = further.operator
            hidden = A.mask & ~shown.mask
            count = hidden.expand(-1, 1, *batch.image_shape).sum((1, 2, 3)).clamp_min(1) * y.shape[1]
            for j, level in enumerate(levels):
                sigma = batch.noise_std.clamp_min(max(level, LOWEST_SIGMA))
                noise = torch.stack([white(tuple(y.shape[1:]), rng) for rng in rngs]).to(y.device)
                seen = corrupt_further(y, shown, sigma, batch.noise_std, noise)
                estimate = A.forward(prior.denoise(shown.adjoint(seen), sigma, shown))
                error = (weight * keep(hidden, estimate - y).abs().square()).sum((1, 2, 3)) / count
                total[:, j] += error.double().clamp_min(1e-30).log().cpu() / draws
        rows.append(total)
        first += len(batch)
    return np.asarray(torch.cat(rows).numpy(), np.float64)

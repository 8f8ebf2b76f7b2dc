"""T4 on errors with a known gap, and errors of a prior that remembers some scans."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from ambient_mri.audit.membership import auc, by_patient, less_difficulty, membership, withheld_errors
from ambient_mri.audit.similarity import Whitening
from ambient_mri.corruption import FurtherCorruption
from ambient_mri.data.cohort import subject
from ambient_mri.data.simulation import Acquisition, simulate_scan
from ambient_mri.measurement import collate
from ambient_mri.operators import Masked
from ambient_mri.patterns import RandomLines


def test_auc_by_hand() -> None:
    assert auc(np.array([1.0, 2.0]), np.array([3.0, 4.0])) == 1
    assert auc(np.array([3.0, 1.0]), np.array([2.0, 1.0])) == pytest.approx((0 + 0 + 1 + 0.5) / 4)


def test_level_under_the_null_and_power() -> None:
    rng = np.random.default_rng(0)
    null, found = [], []
    for _ in range(200):
        train, hold = (
            rng.standard_normal((30, 3)) + rng.standard_normal((30, 1)),
            rng.standard_normal((25, 3)) + (rng.standard_normal((25, 1))),
        )
        null.append(membership(train, hold, rng, resamples=2, permutations=199).p_value)
        found.append(membership(train - 1, hold, rng, resamples=2, permutations=199).p_value)
    assert 0.02 <= np.mean(np.array(null) <= 0.05) <= 0.08
    assert np.mean(np.array(found) <= 0.05) > 0.7


def test_a_reference_that_shares_what_is_hard_adds_power_and_no_false_alarms() -> None:
    rng = np.random.default_rng(5)
    alone, beside, null = [], [], []
    for _ in range(150):
        hard = rng.standard_normal((60, 1))  # the same patients are hard for every model
        model, reference = (slope * hard + 0.3 * rng.standard_normal((60, 2)) for slope in (1.0, 0.7))
        member = model - 0.25 * (np.arange(60) < 30)[:, None]

        def p_value(errors: np.ndarray) -> float:
            return membership(errors[:30], errors[30:], rng, resamples=2, permutations=199).p_value

        alone.append(p_value(member))
        beside.append(p_value(less_difficulty(member, reference)))
        null.append(p_value(less_difficulty(model, reference)))
    assert 0.02 <= np.mean(np.array(null) <= 0.05) <= 0.09
    assert np.mean(np.array(beside) <= 0.05) > np.mean(np.array(alone) <= 0.05) + 0.3


def test_what_the_reference_explains_is_taken_off_at_its_own_slope() -> None:
    reference = np.random.default_rng(2).standard_normal((30, 2))
    assert np.abs(less_difficulty(3 + 0.4 * reference, reference)).max() < 1e-12


def test_interval_covers_the_true_gap() -> None:
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(60):
        train, hold = rng.standard_normal((40, 2)) - 0.5, rng.standard_normal((40, 2))
        found = membership(train, hold, rng, resamples=300, permutations=19)
        covered.append(bool(found.low[0] <= 0.5 <= found.high[0]))
    assert np.mean(covered) >= 0.87
    assert found.gap.shape == (2,)


def test_slices_are_averaged_by_patient() -> None:
    table = by_patient(np.array([[1.0], [3.0], [5.0]]), ["b", "b", "a"])
    assert table.tolist() == [[2.0], [5.0]]


class _Remembers:
    """Knows some images by heart: answers with whichever of them agrees best with what is shown, else with zeros."""

    def __init__(self, known: Tensor) -> None:
        self.known = known

    def denoise(self, x_in: Tensor, sigma: Tensor, given: Masked) -> Tensor:
        answers = []
        for i in range(len(x_in)):
            one = Masked(type(given.encoding)(given.encoding.maps[i : i + 1]), given.mask[i : i + 1])
            misfit = (one.normal(self.known) - x_in[i]).abs().square().sum((1, 2, 3))
            best = int(misfit.argmin())
            answers.append(self.known[best] * (0.5 if misfit[best] < 0.2 * x_in[i].abs().square().sum() else 0.0))
        return torch.stack(answers)


def test_a_prior_that_remembers_is_caught_and_errors_do_not_depend_on_batches() -> None:
    law = RandomLines(4, 0.08)
    made = [
        simulate_scan(subject(i, size=32).images[0], Acquisition(law, coils=2, noise_std=0.02), f"s{i}")
        for i in range(24)
    ]
    scans = [scan.measurement for scan in made]
    prior = _Remembers(torch.cat([scan.truth for scan in made[:12]]))
    weight = Whitening.of(scans[12:])
    further = FurtherCorruption(law, (0.5, 0.9))

    def errors(part: slice, batch: int) -> np.ndarray:
        chosen = scans[part]
        batches = [collate(chosen[i : i + batch]) for i in range(0, len(chosen), batch)]
        return withheld_errors(prior, batches, further, weight, (0.02, 0.2), seed=3)

    train, hold = errors(slice(0, 12), 5), errors(slice(12, 24), 12)
    assert errors(slice(0, 12), 12) == pytest.approx(train, abs=1e-5)
    found = membership(train, hold, np.random.default_rng(0))
    assert found.p_value < 0.01
    assert found.auc > 0.9
    assert found.mean_low > 0

"""Five words, none of them a promise."""

from __future__ import annotations

import re

import numpy as np
import pytest

from ambient_mri.audit.gates import placebo, planted, posing, positive_control, told_apart
from ambient_mri.audit.power import sensitivity
from ambient_mri.audit.results import GateResult, Pairs, QualityResult, TestResult
from ambient_mri.audit.verdict import Verdict, verdict

GOOD = QualityResult(realistic=0.9, detail=1.0, adequate=True)
POOR = QualityResult(realistic=0.1, detail=0.2, adequate=False)
PASSED = GateResult(name="placebo", passed=True, statistic=0.05, low=0.0, high=0.2, requirement="")
ALARMED = PASSED.model_copy(update={"passed": False})
BLIND = ALARMED.model_copy(update={"name": "planted copies", "guards": "missed copies"})
PAIRS = Pairs(threshold=0.5, rate=1e-3, flagged_samples=40, flagged_patients=40, expected_patients=1.0,
              carlini_smallest=(0.5, 0.6))  # fmt: skip


def _test(p: float) -> TestResult:
    return TestResult(name="T1", title="copies", statistic=0.1, statistic_is="share", ci95=(0.0, 0.2), p_raw=p,
                      p_holm=min(3 * p, 1), n_units=100)  # fmt: skip


def _decide(**given: object) -> Verdict:
    facts = {"gates": [PASSED], "tests": [_test(0.4)], "named": 0, "quality": GOOD, "limits": sensitivity(1000, 60, 60)}
    return verdict(**(facts | given))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({}, "NOT DETECTED"),
        ({"tests": [_test(0.001)]}, "DETECTED"),
        ({"tests": [_test(0.001)], "gates": [PASSED, ALARMED]}, "INVALID"),
        ({"tests": [_test(0.001)], "gates": [PASSED, BLIND]}, "DETECTED"),  # what was found stands
        ({"gates": [PASSED, BLIND]}, "INVALID"),
        ({"named": 2, "gates": [PASSED, BLIND]}, "INVALID"),
        ({"tests": [_test(0.001)], "quality": POOR}, "DETECTED"),  # poor samples do not excuse copies
        ({"quality": POOR}, "INCONCLUSIVE"),
        ({"limits": sensitivity(1000, 3, 3)}, "INCONCLUSIVE"),
        ({"limits": sensitivity(1000, 60, 60, recall=0.0)}, "INCONCLUSIVE"),
        ({"named": 2}, "INDICATIONS"),
        ({"pairs": PAIRS, "pair_p_value": 1e-4}, "INDICATIONS"),
        ({"pairs": PAIRS, "pair_p_value": 0.2}, "NOT DETECTED"),
        ({"tests": [_test(0.03)]}, "NOT DETECTED"),
    ],
)
def test_word(given: dict[str, object], word: str) -> None:
    decided = _decide(**given)
    assert decided.word == word
    assert not re.search(r"\bsafe|\banonymous|GDPR|compliant", " ".join(decided.sentences), re.I)


def test_not_detected_says_what_would_have_been_seen() -> None:
    sentence = _decide().sentences[0]
    limits = sensitivity(1000, 60, 60)
    assert f"{limits.rate:.2g} per sample" in sentence
    assert f"{limits.copies_at_most:.2g}" in sentence
    assert "not proof of anonymity" in sentence


def test_cohorts_that_differ_fail_and_equal_ones_pass() -> None:
    rng = np.random.default_rng(0)
    failures = 0
    for _ in range(20):
        a, b = rng.standard_normal((60, 10)), rng.standard_normal((30, 10))
        failures += not told_apart(a, b, rng, permutations=100).passed
        assert not told_apart(a + 1.0, b, rng, permutations=100).passed
    assert failures <= 2


def test_whether_cohorts_differ_does_not_hang_on_how_patients_are_divided() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((60, 10)), rng.standard_normal((40, 10))
    seeds = [np.random.default_rng(seed) for seed in range(12)]
    found = [told_apart(a, b, own, permutations=1).statistic for own in seeds]
    assert np.std(found) < 0.01, "of one division each .05"


def test_rate_gates_pass_the_innocent_and_fail_on_a_shared_patient() -> None:
    rng = np.random.default_rng(0)
    assert placebo([0.3, 0.02, 0.9, 0.2]).passed
    assert not placebo([0.001, 0.002, 0.004, 0.9]).passed
    between, within = rng.standard_normal((60, 60)), rng.standard_normal((60, 60))
    assert posing(between, within, rng).passed
    between[np.arange(50), np.arange(50)] += 10  # fifty patients are on both sides
    assert not posing(between, within, rng).passed


def test_recall_and_control() -> None:
    assert planted(95, 100).passed
    assert not planted(94, 100).passed
    assert positive_control(0.01, 5).passed
    assert not positive_control(0.2, 5).passed

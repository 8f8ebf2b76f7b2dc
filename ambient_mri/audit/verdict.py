"""From gates, tests and power to one of five words. None of them says that a model is harmless."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ambient_mri.audit.power import Sensitivity
from ambient_mri.audit.results import GateResult, Pairs, QualityResult, TestResult

Word = Literal["NOT DETECTED", "INDICATIONS", "DETECTED", "INCONCLUSIVE", "INVALID"]
LEVEL, PAIR_LEVEL = 0.05, 0.01


@dataclass(frozen=True)
class Verdict:
    """The word and the sentences that go with it, most important first."""

    word: Word
    sentences: tuple[str, ...]


def verdict(
    gates: Sequence[GateResult], tests: Sequence[TestResult], named: int, quality: QualityResult, limits: Sensitivity,
    *, pairs: Pairs | None = None, pair_p_value: float = 1.0, q: float = 0.1,
) -> Verdict:  # fmt: skip
    """Decide.

    Parameters
    ----------
    tests
        With p-values adjusted by Holm.
    named
        Training patients named at false discovery rate `q`.
    pairs, pair_p_value
        T2, and the chance of so many flagged patients.
    """
    alarmed = [gate.name for gate in gates if not gate.passed and gate.guards == "false alarms"]
    blind = [gate.name for gate in gates if not gate.passed and gate.guards == "missed copies"]
    strongest = min(tests, key=lambda test: test.p_raw)
    found = strongest.p_holm < LEVEL
    if alarmed or (blind and not found):
        return Verdict("INVALID", (
            f"Checks of the audit itself failed, so its {'findings' if alarmed else 'silence'} would mean nothing: "
            + "; ".join(alarmed + blind) + ".",
            "Repair what the failed checks point to and run the audit again.",
        ))  # fmt: skip
    if found:
        who = f"{named} training patients are named at a false discovery rate of {q:.0%}. " if named else (
            f"No single patient can be named at a false discovery rate of {q:.0%}. "
        )  # fmt: skip
        opening = "The generator gives away training patients." if strongest.name != "T4" else (
            "The model knows its training patients better than others: whoever holds it and a scan can tell something "
            "about whether that patient was among them."
        )  # fmt: skip
        return Verdict("DETECTED", (
            f"{opening} {who}Smallest p-value: {strongest.p_holm:.2g} "
            f"({strongest.title}; adjusted for {len(tests)} tests).",
            "Samples of this model, and the model itself, should be treated as personal data of the training "
            "patients until shown otherwise.",
            *((f"More may have been missed, as a check failed: {'; '.join(blind)}.",) if blind else ()),
        ))  # fmt: skip
    if named or (pairs is not None and pair_p_value < PAIR_LEVEL):
        excess = "" if pairs is None else (
            f" {pairs.flagged_patients} training patients are in exceptional pairs with a sample, "
            f"{pairs.expected_patients:.1f} are expected by chance (p = {pair_p_value:.2g})."
        )  # fmt: skip
        return Verdict("INDICATIONS", (
            f"Something points to training patients, but no test beyond the error that {len(tests)} tests share: "
            f"smallest p-value {strongest.p_raw:.2g} ({strongest.title}), {strongest.p_holm:.2g} after adjustment."
            f"{excess} {named} patients are named at a false discovery rate of {q:.0%}.",
            "Look at the pairs in the restricted annex, and repeat at a higher --level.",
        ))  # fmt: skip
    if limits.least_patients is None:
        return Verdict("INCONCLUSIVE", (
            f"Too few patients: {limits.train_patients} training and {limits.holdout_patients} hold-out patients "
            "cannot give a significant result, whatever the generator does.",
            "Keep at least 50 patients out of the training.",
        ))  # fmt: skip
    if not quality.adequate:
        return Verdict("INCONCLUSIVE", (
            f"Only {quality.realistic:.0%} of the samples look like scans of this kind: that they copy nobody says "
            "little. A generator that learned too little is not cleared.",
            "Audit the generator that will be used, once its samples are good.",
        ))  # fmt: skip
    if not limits.adequate:
        return Verdict("INCONCLUSIVE", ("Copies would not have stood out in an audit of this size.",
                                        "Repeat with --level full."))  # fmt: skip
    return Verdict("NOT DETECTED", (
        f"{limits.least_patients} training patients emitted at {limits.rate:.2g} per sample or more would have been "
        f"caught with 95 % probability, if copies of each of them stand out as often as the planted ones did "
        f"({limits.recall:.0%}); 95 % upper bound of the share of samples that are exceptionally near to a training "
        f"patient: {limits.copies_at_most:.2g}; this is not proof of anonymity.",
        "Rarer copies, copies of patients who are hard to recognise, copies of smaller parts, and what these tests do "
        "not look at remain possible.",
    ))  # fmt: skip

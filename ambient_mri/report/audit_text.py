"""The words of audit reports, and an audit as a few lines of text."""

from __future__ import annotations

from ambient_mri.audit.results import AuditResult

THREATS = (
    "Copies: a sample that is a slice of a training patient, also rotated, mirrored, blurred, re-scaled or mixed with "
    "other content (T1, T2, T3).",
    "Membership: whoever has the model and a scan finds out whether the scan was trained on (T4).",
    "The auditor may hold the corrupted scans only; nothing here needs a complete image of anybody.",
)
LEGAL_TERMS = (
    ("Extraction or regurgitation of training data (EDPB 28/2024)", "T1, T2 and T3, with the detection limits stated"),
    ("Membership inference (EDPB 28/2024)", "T4, with access to the model"),
    ("Attribute inference, model inversion, reconstruction attacks (EDPB 28/2024)", "not tested"),
    ("Singling out (WP216)", "the list of named patients; T2"),
    (
        "Linkability (WP216)",
        "T3 and T7: a sample linked to a scan, or to one recording; pseudonyms are salted with the scans themselves",
    ),
    ("Inference (WP216)", "T4 for membership; not tested for attributes"),
)
GLOSSARY = (
    ("NOT DETECTED", "No test found copies, and copies at the stated rate would have been found. Not a proof that "
     "nobody can be recognised."),
    ("INDICATIONS", "Single pairs or patients stand out, but no test does after adjustment."),
    ("DETECTED", "At least one test found that training patients are given away, with an error of at most 5 %."),
    ("INCONCLUSIVE", "Too few patients or samples, or samples too poor, for an answer."),
    ("INVALID", "A check of the audit itself failed: one against false alarms, or one against missed copies while "
     "nothing was found."),
    ("Hold-out", "Patients of the same kind whom the training never saw: what chance looks like."),
    ("p", "The chance of a result at least as extreme if the generator gave away nobody. Holm's adjustment shares an "
     "error of 5 % among the tests."),
    ("False discovery rate of 10 %", "Of the patients named, one in ten is expected to be wrong."),
    ("Pseudonym", "A hash of the patient with a salt made of the scans: without the scans nobody can work it out."),
)  # fmt: skip


def percent(share: float) -> str:
    """As people write it: 12 %, 0.4 %."""
    return f"{100 * share:.0f} %" if share >= 0.0995 or share == 0 else f"{100 * share:.2g} %"


def p_text(p: float) -> str:
    """Two digits; a probability that is too small for a float is not called 0."""
    if p == 0:
        return "1e-300 or less"
    return f"{p:.2g}" if p >= 1e-4 else f"{p:.0e}"


def scans_sentence(result: AuditResult) -> str:
    """What of the scans was used."""
    kind = "simulated from magnitude images" if result.data.simulated else "acquired"
    if result.data.scans == "images":
        return f"EVALUATION ACCESS to the images behind the scans, which are {kind}"
    return f"only what was measured of them, {kind}; no complete image of anybody was used"


def access_sentence(result: AuditResult) -> str:
    """What of the generator was used."""
    if result.access == "model":
        return "The auditor could draw samples and query the denoiser."
    return "The auditor had samples only."


def audit_text(result: AuditResult) -> str:
    """Verdict, tests and checks for the command line."""
    lines = [f"{result.verdict}. {result.sentences[0]}", *result.sentences[1:]]
    for test in result.tests:
        lines.append(f"{test.name}  p {p_text(test.p_raw)}, Holm {p_text(test.p_holm)}  {test.title}")
    for gate in result.gates:
        lines.append(f"{'passed' if gate.passed else 'FAILED'}  {gate.name}: {gate.statistic:.3g} ({gate.requirement})")
    return "\n".join(lines)

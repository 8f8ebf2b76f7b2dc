"""Two models of disjoint halves (T5) as text, JSON and a page, without a picture of any patient."""

from __future__ import annotations

import json

from ambient_mri.audit.halves import Halves
from ambient_mri.report.audit_text import p_text
from ambient_mri.report.curves import Line, line_chart
from ambient_mri.report.page import document

TITLE = "Memorization: two models of disjoint halves"


def halves_text(found: Halves) -> str:
    """What was found, in three lines."""
    known = found.membership
    return (
        f"T5  p {p_text(known.p_value)}: a patient is recovered better by the model that learned from it than by the "
        f"other with AUC {known.auc:.2f} ({known.auc_low:.2f} to {known.auc_high:.2f}; .5 is chance); "
        f"{found.patients[0]} and {found.patients[1]} patients.\n"
        f"T6  the half of {found.right} of {sum(found.patients)} patients is guessed from the errors: ε of each "
        f"training is {found.epsilon:.2f} or more (95 %).\n"
        f"Samples of the two from the same noise correlate by {found.agreement:.2f}, from different noise by "
        f"{found.by_chance:.2f}."
    )


def halves_json(found: Halves) -> str:
    """As data; equal results give equal bytes."""
    known = found.membership
    return json.dumps({
        "format": "ambient-mri halves 1",
        "patients": found.patients,
        "p_value": known.p_value,
        "auc": known.auc,
        "auc_ci95": (known.auc_low, known.auc_high),
        "levels": found.levels,
        "gap": known.gap.tolist(),
        "gap_low": known.low.tolist(),
        "gap_high": known.high.tolist(),
        "right": found.right,
        "epsilon": found.epsilon,
        "agreement": found.agreement,
        "agreement_by_chance": found.by_chance,
    }, indent=1) + "\n"  # fmt: skip


def halves_page(found: Halves) -> str:
    """As one self-contained page."""
    known = found.membership
    leak, privacy, agreement = halves_text(found).split("\n")
    chart = line_chart(
        "By how much models recover patients of their own half better", "noise level σ (image standard deviation .5)",
        "log error, other half less own",
        [Line("gap, 95 %", found.levels, known.gap.tolist(), known.low.tolist(), known.high.tolist())],
        logarithmic=True, zero=True,
    )  # fmt: skip
    return document(TITLE, [
        f"<h1>{TITLE}</h1>",
        "<p>Each model learned from one half of the training patients. Part of a scan is shown to both, and both "
        "predict the rest: what a patient's own model predicts better than the other one, it learned from that "
        "patient.</p>",
        f"<p><strong>{leak}</strong></p>",
        chart,
        f"<p>{privacy} A coin decided who is in which half; as differentially private trainings, neither would let so "
        "many be guessed with a smaller ε (Steinke et al. 2023). 0 says nothing.</p>",
        f"<p>{agreement} Models that learned the distribution draw the same image from the same noise; models that "
        "learned their patients do not (Kadkhodaie et al. 2024).</p>",
    ])  # fmt: skip

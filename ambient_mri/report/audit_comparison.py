"""Several audits side by side: trained from corrupted or clean scans, or checkpoints of one training."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from html import escape

from ambient_mri.audit.results import AuditResult
from ambient_mri.report.audit_text import p_text, percent
from ambient_mri.report.curves import Line, line_chart
from ambient_mri.report.page import document, table

Row = tuple[str, Callable[[AuditResult], str]]


def _p_of(name: str) -> Callable[[AuditResult], str]:
    return lambda result: next((p_text(test.p_holm) for test in result.tests if test.name == name), "not done")


ROWS: tuple[Row, ...] = (
    ("verdict", lambda r: r.verdict),
    ("method, steps", lambda r: r.subject.method + ("" if r.subject.steps is None else f", {r.subject.steps}")),
    ("data", lambda r: r.data.name),
    ("level, access", lambda r: f"{r.level}, {r.access}"),
    ("samples", lambda r: str(r.subject.samples)),
    ("patients: training, hold-out", lambda r: f"{r.data.train_patients}, {r.data.holdout_patients}"),
    ("p of T1 (Holm)", _p_of("T1")),
    ("p of T3 (Holm)", _p_of("T3")),
    ("p of T4 (Holm)", _p_of("T4")),
    ("AUC of T4", lambda r: "not done" if r.membership is None else f"{r.membership.auc:.3f}"),
    ("patients named", lambda r: str(len(r.detections))),
    ("patients in exceptional pairs (by chance)",
     lambda r: f"{r.pairs.flagged_patients} ({r.pairs.expected_patients:.1f})"),
    ("patients whose noise is known (T7)",
     lambda r: "not done" if r.fingerprint is None else f"{r.fingerprint.train} of {r.fingerprint.patients[0]}"),
    ("C_T; authentic samples", lambda r: f"{r.descriptive.c_t:.1f}; {percent(r.descriptive.authentic)}"),
    ("samples like real scans", lambda r: percent(r.quality.realistic)),
    ("checks failed", lambda r: str(sum(not gate.passed for gate in r.gates))),
)  # fmt: skip

READING = (
    ("T1, T3, T4", "Are training patients nearer to the samples than patients nobody trained on, in features (T1) or "
     "in what was measured (T3), and are their withheld measurements predicted better (T4)? p after Holm's adjustment: "
     "below .05 the test finds that patients are given away."),
    ("AUC of T4", "How often a training patient is predicted better than a hold-out patient; .5 is chance."),
    ("Patients named, pairs, noise", "Who stands out one by one, and how many would by chance."),
    ("C_T, authentic samples", "Figures of other works, which decide nothing."),
    ("Similarity", "Hold-out patients show what chance looks like. Samples that copy lie above them at the right end."),
    ("Not detected", "No proof that nobody is given away: the report of each audit says what it would have seen."),
)  # fmt: skip


def warnings(results: Sequence[AuditResult]) -> list[str]:
    """Why the columns may not be comparable."""
    first, found = results[0], []
    if any(result.data.sha256 != first.data.sha256 for result in results):
        found.append("the audits are of different data specs")
    if any((result.level, result.access, result.data.scans) != (first.level, first.access, first.data.scans)
           for result in results):  # fmt: skip
        found.append("the audits differ in level, access or scans")
    return found


def comparison_text(names: Sequence[str], results: Sequence[AuditResult]) -> str:
    """A table in Markdown."""
    lines = [f"| | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    lines += [f"| {head} | {' | '.join(show(result) for result in results)} |" for head, show in ROWS]
    return "\n".join([*lines, *(f"Note: {line}." for line in warnings(results))])


def comparison_page(names: Sequence[str], results: Sequence[AuditResult]) -> str:
    """The table, and the similarity of samples to training patients at every quantile, as one page."""
    rows = [(escape(head), *(escape(show(result)) for result in results)) for head, show in ROWS]
    quantile = [i / (len(results[0].curves.nearest_train) - 1) for i in range(len(results[0].curves.nearest_train))]
    upper = slice(len(quantile) // 2, None)
    lines = [
        Line(name, quantile[upper], result.curves.nearest_train[upper])
        for name, result in zip(names, results, strict=True)
    ]
    lines.append(Line("hold-out of the first", quantile[upper], results[0].curves.nearest_hold[upper]))
    notes = "".join(f"<p>Note: {escape(line)}.</p>" for line in warnings(results))
    terms = "".join(f"<dt>{term}</dt><dd>{text}</dd>" for term, text in READING)
    body = [
        "<h1>Memorization audits side by side</h1>",
        notes,
        table(("", *map(escape, names)), rows),
        "<h2>Similarity of samples to their nearest training slice</h2>",
        line_chart("Upper half of the quantiles", "quantile of samples", "similarity", lines),
        _timeline(results),
        f"<h2>How to read this</h2>\n<dl>{terms}</dl>",
    ]
    return document("Memorization audits side by side", body)


def _timeline(results: Sequence[AuditResult]) -> str:
    """What was found against training steps, where the audits are of several checkpoints of one data set."""
    found = sorted(((r.subject.steps, r) for r in results if r.subject.steps is not None), key=lambda pair: pair[0])
    steps = [float(step) for step, _ in found]
    if len(set(steps)) < 2 or len({r.data.sha256 for _, r in found}) > 1:
        return ""
    lines = []
    for name in ("T1", "T3"):
        shares = [(float(step), t.statistic) for step, r in found for t in r.tests if t.name == name]
        label = f"share above every hold-out patient ({name})"
        lines.append(Line(label, [step for step, _ in shares], [share for _, share in shares]))
    known = [(float(step), r.membership.auc) for step, r in found if r.membership is not None]
    lines.append(Line("AUC of T4", [step for step, _ in known], [auc for _, auc in known]))
    chart = line_chart("What the tests found against training steps", "training steps", "", lines, zero=True)
    return "<h2>Checkpoints of the training</h2>" + chart

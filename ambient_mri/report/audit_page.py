"""An audit as one self-contained page without a picture of any patient. Equal results give equal bytes."""

from __future__ import annotations

from html import escape

from ambient_mri.audit.results import AuditResult, GateResult, TestResult
from ambient_mri.report.audit_evidence import EVIDENCE
from ambient_mri.report.audit_text import (
    GLOSSARY,
    LEGAL_TERMS,
    THREATS,
    access_sentence,
    p_text,
    percent,
    scans_sentence,
)
from ambient_mri.report.page import document, table

STYLE = """
.verdict { border: 2px solid var(--ink); border-left-width: .9rem; padding: .9rem 1.1rem; margin: 1rem 0; }
.verdict strong.word { display: block; font-size: 1.45rem; letter-spacing: .02em; }
.verdict.bad { border-color: #b3261e; } .verdict.warn { border-color: #b26a00; }
.verdict.none { border-color: #3d5a73; }
.verdict p { margin: .4rem 0 0; }
.fail { font-weight: 700; color: #b3261e; }
ul.plain { padding-left: 1.1rem; margin: .3rem 0; max-width: 46rem; } li { margin: .2rem 0; }
.bar { display: block; height: .7rem; background: #0072b2; min-width: 1px; print-color-adjust: exact; }
td:has(.bar) { width: 40%; }
@media print { .first { break-after: page; } .verdict { print-color-adjust: exact; } svg { max-height: 6.5cm; }
  h2 { margin-top: 1.2rem; } @page { margin: 16mm; } }
"""
TONE = {
    "DETECTED": "bad", "INDICATIONS": "warn", "INVALID": "warn", "INCONCLUSIVE": "warn", "NOT DETECTED": "none",
}  # fmt: skip


def audit_page(result: AuditResult) -> str:
    """The page as text."""
    first = ['<div class="first">', *_verdict(result), *_at_a_glance(result), "</div>"]
    parts = (_scope, _gates, _tests, *EVIDENCE, _confounds, _law, _reading, _limits)
    return document(_title(result), [*first, *(line for part in parts for line in part(result))], STYLE)


def _title(result: AuditResult) -> str:
    return f"Memorization audit: {result.subject.name}"


def _verdict(result: AuditResult) -> list[str]:
    sentences = "".join(f"<p>{escape(sentence)}</p>" for sentence in result.sentences)
    return [
        f"<h1>{escape(_title(result))}</h1>",
        f'<p class="soft">Does the generator give away the patients that it learned from? Audit at level '
        f"{result.level} with access to {'the model' if result.access == 'model' else 'samples only'}; "
        f"ambient-mri {escape(result.version)}, seed {result.seed}.</p>",
        f'<div class="verdict {TONE[result.verdict]}"><strong class="word">{result.verdict}</strong>{sentences}</div>',
    ]


def _at_a_glance(result: AuditResult) -> list[str]:
    limits, data = result.limits, result.data
    failed = [gate for gate in result.gates if not gate.passed]
    least = "no number of copied patients could be significant" if limits.least_patients is None else (
        f"{limits.least_patients} of {data.train_patients} training patients, each emitted at {limits.rate:.2g} a "
        "sample or more, are all seen with probability 95 % and make a test significant, if copies of each stand out "
        "as often as the planted ones"
    )  # fmt: skip
    checks = (
        "all passed"
        if not failed
        else f"{len(failed)} of {len(result.gates)} failed: " + "; ".join(gate.name for gate in failed)
    )
    rows = [
        ("What was compared", f"{result.subject.samples} samples with {data.train_slices} slices of "
         f"{data.train_patients} training patients; control: {data.holdout_slices} slices of {data.holdout_patients} "
         "patients whom the training did not see"),
        ("Smallest copying that is seen", least),
        ("Copies found", f"{len(result.detections)} training patients named at a false discovery rate of 10 % "
         f"({limits.least_named} have to stand out before any is named)"),
        ("Copies among the samples", f"at most a share of {limits.copies_at_most:.2g} is exceptionally near to a "
         "training patient (95 % confidence)"),
        ("Planted copies that stand out", f"{percent(limits.recall)} of exact and mildly changed ones"),
        ("Quality of the samples", f"{percent(result.quality.realistic)} lie in the range of real scans; "
         f"detail {result.quality.detail:.2f} of theirs"
         + ("" if result.quality.adequate else ". Too poor to clear the generator")),
        ("Checks of the audit itself", checks),
        ("Scans", scans_sentence(result)),
    ]  # fmt: skip
    cells = [(escape(head), escape(text)) for head, text in rows]
    tests = ", ".join(f"{test.name}: p = {p_text(test.p_holm)}" for test in result.tests)
    return [
        "<h2>Sensitivity and scope on one page</h2>",
        table((), cells, left=(0, 1)),
        f"<p>p-values after adjustment for {len(result.tests)} tests: {tests}.</p>",
    ]


def _scope(result: AuditResult) -> list[str]:
    threats = "".join(f"<li>{escape(threat)}</li>" for threat in THREATS)
    subject, data = result.subject, result.data
    steps = "" if subject.steps is None else f", {subject.steps} training steps, method {escape(subject.method)}"
    return [
        "<h2>Scope and threat model</h2>",
        f"<p>Audited: {escape(subject.name)} (sha256 <code>{subject.sha256[:16]}</code>{steps}); samples by "
        f"{escape(subject.sampler)}. Scans: {escape(data.title)} (spec <code>{escape(data.name)}</code>, sha256 "
        f"<code>{data.sha256[:16]}</code>; {escape(data.corruption)}). {escape(access_sentence(result))}</p>",
        f'<p>What is looked for:</p><ul class="plain">{threats}</ul>',
    ]


def _gates(result: AuditResult) -> list[str]:
    def row(gate: GateResult) -> tuple[str, ...]:
        verdict = "passed" if gate.passed else '<span class="fail">FAILED</span>'
        return (
            escape(gate.name), f"{gate.statistic:.3g}", _interval(gate), escape(gate.requirement), gate.guards, verdict
        )  # fmt: skip

    return [
        "<h2>Checks of the audit itself</h2>",
        "<p>If one against false alarms fails, the verdict is INVALID, whatever the tests say. If one against missed "
        "copies fails, finding nothing is INVALID; what was found stands.</p>",
        table(("Check", "Value", "Interval", "Requirement", "Against", ""), map(row, result.gates), left=(0, 3, 4)),
        f"<p>{result.duplicates_across} hold-out patients are training patients too, by their looks or by the table of "
        f"the data set (left out here; each is a leak of the split), {result.duplicates_within} pairs of patients on "
        f"the same side look like one. {result.data.dropped} slices or samples that show next to nothing were left "
        "out.</p>",
    ]


def _interval(gate: GateResult) -> str:
    return "–" if gate.low == gate.high else f"{gate.low:.3g} to {gate.high:.3g}"


def _tests(result: AuditResult) -> list[str]:
    def row(test: TestResult) -> tuple[str, ...]:
        low, high = test.ci95
        return (
            f"{test.name}: {escape(test.title)}", f"{test.statistic:.3g}<small>{low:.3g} to {high:.3g}</small>",
            escape(test.statistic_is), str(test.n_units), p_text(test.p_raw), p_text(test.p_holm),
        )  # fmt: skip

    head = ("Test", "Statistic, 95 % interval", "which is", "Patients", "p", "p, Holm")
    return ["<h2>Tests</h2>", table(head, map(row, result.tests), left=(0, 2)), *_named(result)]


def _named(result: AuditResult) -> list[str]:
    if not result.detections:
        return ["<p>No training patient is named at a false discovery rate of 10 %.</p>"]
    rows = [(escape(one.pseudonym), escape(", ".join(one.tests)), p_text(one.p_value)) for one in result.detections]
    return [
        f"<h3>{len(result.detections)} training patients, by pseudonym</h3>",
        "<p>About one in ten of these names is expected to be wrong. The restricted annex says which scans they "
        "are.</p>",
        table(("Pseudonym", "Named by", "Conformal p"), rows),
    ]


def _confounds(result: AuditResult) -> list[str]:
    first = result.gates[0]
    return [
        "<h2>Confounds</h2>",
        "<p>Site, scanner, slice position or contrast that differ between training and hold-out would look like "
        "memorization. Without the generator, a classifier tells training from hold-out patients with an AUC of "
        f"{first.statistic:.2f} (interval {first.low:.2f} to {first.high:.2f}); .5 is chance. Every patient "
        f"contributes the same number of slices ({result.data.slices_per_patient}); slices and samples with next to no "
        "content were left out on both sides; mirror images count alike for both.</p>",
    ]


def _law(result: AuditResult) -> list[str]:
    return [
        "<h2>Terms of data protection</h2>",
        "<p>Where the questions of EDPB Opinion 28/2024 on AI models and of WP216 (Opinion 05/2014 on anonymisation) "
        "are touched. The assessment itself, with all means reasonably likely to be used, is the controller's.</p>",
        table((), [(escape(term), escape(where)) for term, where in LEGAL_TERMS], left=(0, 1)),
    ]


def _reading(result: AuditResult) -> list[str]:
    terms = "".join(f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>" for term, text in GLOSSARY)
    return [f"<h2>How to read this</h2>\n<dl>{terms}</dl>"]


def _limits(result: AuditResult) -> list[str]:
    lines = "".join(f"<li>{escape(line)}</li>" for line in result.limitations)
    kept = "".join(f"<li><code>{escape(name)}</code> {digest[:16]}…</li>" for name, digest in result.artefacts.items())
    return [
        f'<h2>Limitations</h2>\n<ul class="plain">{lines}</ul>',
        f"<h2>To reproduce</h2>\n<p><code>{escape(result.command)}</code></p>",
        f'<p class="soft">Kept results, sha256:</p><ul class="plain soft">{kept}</ul>',
    ]

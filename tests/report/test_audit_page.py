"""The report of an audit: self-contained, without pixels or promises; the annex is marked and has both."""

from __future__ import annotations

import re

import numpy as np
import pytest

from ambient_mri.audit.annex import Annex, Case
from ambient_mri.audit.results import AuditResult
from ambient_mri.report import annex_page, audit_page, audit_text, comparison_page, comparison_text
from ambient_mri.report.audit_text import p_text
from tests.audit.example import example
from tests.laws.markup import Balance


def _check(page: str) -> None:
    checker = Balance()
    checker.feed(page)
    assert checker.open == []
    assert "<script" not in page
    assert "default-src 'none'" in page
    assert not re.search(r"(https?:)?//[a-z]", page.replace("http://www.w3.org", ""))


@pytest.mark.parametrize("access", ["model", "samples"])
@pytest.mark.parametrize("word", ["DETECTED", "NOT DETECTED", "INVALID", "INCONCLUSIVE", "INDICATIONS"])
def test_report_is_self_contained_and_shows_nobody(word: str, access: str) -> None:
    page = audit_page(example(word, access=access))
    _check(page)
    assert "<img" not in page
    assert "data:image" not in page
    assert "Brains &lt;b&gt;" in page
    assert page == audit_page(example(word, access=access))
    assert not re.search(r"\bsafe\b|\banonymous\b|GDPR", page, re.I)


def test_first_page_holds_verdict_and_sensitivity() -> None:
    page = audit_page(example())
    first = page[page.index('<div class="first">') : page.index("<h2>Scope and threat model</h2>")]
    for text in ("DETECTED", "First &lt;sentence&gt;.", "6 of 40 training patients", "0.02 a sample", "97 %", "0.015"):
        assert text in first
    assert "break-after: page" in page


def test_report_holds_every_part() -> None:
    page = audit_page(example())
    for text in ("P-01234567", "placebo", "title of T4", "EDPB", "WP216", "One &lt;limit&gt;.", "exact", "75 %",
                 "ambient-mri audit runs/x/bundle"):  # fmt: skip
        assert text in page
    assert page.count("<svg") == 4
    assert "needs access to the model" in audit_page(example(access="samples"))
    assert "DETECTED" in audit_text(example())


def test_annex_is_marked_and_shows_pairs() -> None:
    picture = np.random.default_rng(0).random((8, 8), dtype=np.float32)
    case = Case("T1", "P-01234567", "scan-7/0", 0.97, 0.4, picture, picture, picture)
    page = annex_page(example(), Annex((case,), (("P-01234567", "scan-7/0"),)))
    _check(page)
    assert "RESTRICTED" in page
    assert page.count("<img") == 4
    assert "scan-7/0" in page


def test_comparison_says_what_is_not_comparable() -> None:
    first, second = example(), example("NOT DETECTED", access="samples")
    names = ["a.json", "b.json"]
    text, page = comparison_text(names, [first, second]), comparison_page(names, [first, second])
    assert "How to read this" in page
    assert ".5 is chance" in page
    _check(page)
    assert "| verdict | DETECTED | NOT DETECTED |" in text
    assert "not done" in text
    assert "differ in level, access or scans" in text
    assert "Note" not in comparison_text(names, [first, first])


def test_checkpoints_of_one_training_are_drawn_against_steps() -> None:
    early = example("NOT DETECTED")
    late = replace_steps(early, 900)
    assert "Checkpoints of the training" not in comparison_page(["a", "b"], [early, early])
    page = comparison_page(["a", "b"], [late, early])
    _check(page)
    chart = page.partition("Checkpoints of the training")[2]
    assert "share above every hold-out patient (T1)" in chart
    assert chart == comparison_page(["b", "a"], [early, late]).partition("Checkpoints of the training")[2]


def replace_steps(result: AuditResult, steps: int) -> AuditResult:
    return result.model_copy(update={"subject": result.subject.model_copy(update={"steps": steps})})


def test_a_probability_is_never_written_as_zero() -> None:
    assert [p_text(p) for p in (0.25, 0.012, 3e-5, 0.0)] == ["0.25", "0.012", "3e-05", "1e-300 or less"]

"""The restricted annex of an audit: samples beside the scans of training patients."""

from __future__ import annotations

from html import escape

import numpy as np

from ambient_mri.audit.annex import Annex, Case, Picture
from ambient_mri.audit.results import AuditResult
from ambient_mri.pictures import enlarged, grey
from ambient_mri.report.audit_text import p_text
from ambient_mri.report.figures import png_uri
from ambient_mri.report.page import document

STYLE = ".restricted { border: 2px solid #b3261e; color: #b3261e; font-weight: 700; padding: .6rem .9rem; }"


def annex_page(result: AuditResult, annex: Annex) -> str:
    """The page as text."""
    lines = [
        "<h1>Annex of a memorization audit</h1>",
        '<p class="restricted">RESTRICTED: this page shows scans of patients and names their files. It must not leave '
        "those who may see the scans themselves.</p>",
        f"<p>Verdict of the report: {result.verdict}. Pairs are the most alike of each test, whether or not they are "
        "copies. As the tests saw them"
        + (", reconstructed from the measured samples alone.</p>" if result.data.scans == "measured" else ".</p>"),
    ]
    for case in annex.cases:
        lines += _case(case)
    return document("Annex of a memorization audit (restricted)", lines, STYLE)


def _case(case: Case) -> list[str]:
    similar = "" if np.isnan(case.similarity) else f", similarity {case.similarity:.3f}"
    noise = f"; noise alone explains the difference to the measured samples: p = {p_text(case.noise_p_value)}"
    difference = np.abs(_standard(case.sample) - _standard(case.training))
    shown = (
        ("sample", grey(case.sample)),
        ("training scan", grey(case.training)),
        ("nearest hold-out scan", grey(case.holdout)),
        ("sample less training", grey(difference.astype(np.float32))),
    )
    figures = "".join(
        f'<figure><figcaption>{escape(name)}</figcaption><img src="{png_uri(enlarged(picture))}" alt="{escape(name)}">'
        "</figure>"
        for name, picture in shown
    )
    return [
        f'<section>\n<h3>{escape(case.pseudonym)} <span class="soft">{escape(case.scan_id)}: {escape(case.why)}'
        f'{similar}{noise}</span></h3>\n<div class="row">{figures}</div>\n</section>'
    ]


def _standard(picture: Picture) -> Picture:
    centred = picture - picture.mean()
    return np.asarray(centred / max(float(centred.std()), 1e-6), np.float32)

"""A study of lesions as text, JSON and a page with pictures."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from html import escape
from itertools import groupby
from pathlib import Path

import numpy as np
from torch import Tensor

from ambient_mri import files
from ambient_mri.evaluation.lesion_study import Example, Found, LesionStudy
from ambient_mri.evaluation.metrics import Interval
from ambient_mri.pictures import enlarged, grey, white
from ambient_mri.report.curves import Line, line_chart
from ambient_mri.report.figures import png_uri
from ambient_mri.report.page import document, table

TITLE = "Small lesions"
HEAD = ("R", "diameter, pixels", "method", "recovered", "AUC", "seen without it", "lesions")
CROP = 12
"""Pixels around a lesion that are shown."""


def lesions_markdown(study: LesionStudy) -> str:
    """As a table."""
    lines = ["| " + " | ".join(HEAD) + " |", "|---" * len(HEAD) + "|"]
    return "\n".join([*lines, *("| " + " | ".join(_cells(row)) + " |" for row in study.rows)]) + "\n"


def write_lesions(out: Path, study: LesionStudy) -> tuple[Path, ...]:
    """results.json, results.html and results.md in `out`."""
    facts = dataclasses.asdict(dataclasses.replace(study, examples=())) | {"format": "ambient-mri lesions 1"}
    texts = {"json": json.dumps(facts, indent=2) + "\n", "html": lesions_page(study), "md": lesions_markdown(study)}
    return tuple(files.write(out / f"results.{kind}", text) for kind, text in texts.items())


def lesions_page(study: LesionStudy) -> str:
    """As one self-contained page."""
    kind = "brighter" if study.contrast > 0 else "darker"
    noise = "" if study.noise_std is None else f", measurement noise {study.noise_std:g}"
    lines = [
        f"<h1>{TITLE} in {escape(study.data)}</h1>",
        f'<p class="soft">{escape(study.bundle) or "No model"}; k-space simulated{noise}; {study.slices} slices of the '
        f"test split, strengths tuned on {study.tuning_slices} of validation.</p>",
        f"<p>A disk {abs(study.contrast):.0%} {kind} than the head's median was put into each slice, at a random place "
        "of its tissue, and measured as the scan was. <strong>Recovered</strong> is the share of it that is left in "
        "the reconstruction: disk less ring, with it less without it. <strong>AUC</strong> is the chance that an "
        "observer who knows its place, its size and the tissue behind sees more where it is than where it is not: .5 "
        "is guessing. <strong>Seen without it</strong> is what looks like one where there is none (root mean square, "
        "in units of the lesion). Intervals are of 95 %, by a bootstrap over patients.</p>",
    ]
    for rate, rows in groupby(study.rows, key=lambda row: row.acceleration):
        own = list(rows)
        lines += [f"<h2>R = {rate:g}</h2>", _chart(rate, own), table(HEAD[1:], (_cells(row)[1:] for row in own), (1,))]
        for example in study.examples:
            if example.acceleration == rate:
                lines += _pictures(example)
    lines.append(f"<dl><dt>To reproduce</dt><dd><code>{escape(study.command)}</code></dd></dl>")
    return document(f"{TITLE} in {study.data}", lines)


def _cells(row: Found) -> tuple[str, ...]:
    whole = (f"{row.acceleration:g}", f"{row.diameter:g}", row.method)
    return (*whole, _span(row.recovered, 2), _span(row.auc, 3), f"{row.false:.2f}", f"{row.lesions}")


def _span(found: Interval, digits: int) -> str:
    return f"{found.mean:.{digits}f} ({found.low:.{digits}f} to {found.high:.{digits}f})"


def _chart(rate: float, rows: Sequence[Found]) -> str:
    lines = []
    for method in dict.fromkeys(row.method for row in rows):
        own = [row for row in rows if row.method == method]
        spans = [row.recovered for row in own]
        lines.append(Line(method, [row.diameter for row in own], [one.mean for one in spans],
                          [one.low for one in spans], [one.high for one in spans]))  # fmt: skip
    title = f"Share of a lesion that is recovered at R = {rate:g}"
    return line_chart(title, "diameter, pixels", "recovered, 95 %", lines, zero=True)


def _pictures(example: Example) -> list[str]:
    """The surroundings of a lesion, above with it and below without it, all on the grey scale of the truth."""
    peak = white(example.images["truth"][0].numpy())
    parts = [f"<h3>{example.diameter:g} pixels: above with the lesion, below without it</h3>", '<div class="row">']
    for name, pair in example.images.items():
        shown = (png_uri(enlarged(grey(_around(image, example.centre), peak))) for image in pair)
        images = "".join(f'<img src="{uri}" alt="{escape(name)}">' for uri in shown)
        parts.append(f"<figure><figcaption>{escape(name)}</figcaption>{images}</figure>")
    return [*parts, "</div>"]


def _around(image: Tensor, centre: tuple[int, int]) -> np.ndarray:
    rows, columns = (slice(max(at - CROP, 0), at + CROP + 1) for at in centre)
    return image[rows, columns].numpy()

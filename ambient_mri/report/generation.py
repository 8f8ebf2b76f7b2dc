"""A comparison of samples as text, Markdown and a page: every figure beside the floor, who wins marked."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from ambient_mri.generation.results import HIGHER_IS_BETTER, METRICS, Comparison, Figure, Row
from ambient_mri.report.page import document

TITLES = {
    "frechet": ("Fréchet", 2), "kernel": ("Kernel", 2), "sliced_wasserstein": ("Sliced Wasserstein", 4),
    "spectrum_db": ("Spectrum (dB)", 2), "precision": ("Precision", 3), "recall": ("Recall", 3),
}  # fmt: skip
READING = (
    ("Floor", "The same figure for other real images in the same number: what a perfect generator gets, and also one "
     "that copies its training patients. Only an audit tells the two apart."),
    ("Fréchet, kernel", "Distances of features (FID and KID with features that need no weights). Features miss what "
     "they do not measure: a small distance is no proof of realism."),
    ("Sliced Wasserstein", "Distance of pixel distributions: intensities and layout, hardly texture."),
    ("Spectrum", "Difference of the mean radial power in dB: blur, noise and ringing, nothing else."),
    ("Precision, recall", "Share of samples near real images, and of real images near samples: realism and variety."),
    ("±", "Standard error over patients and samples."),
)  # fmt: skip


@dataclass(frozen=True)
class Section:
    """One table: a comparison and what it is of (an amount of corruption)."""

    title: str
    comparison: Comparison


def shown(key: str, figure: Figure) -> str:
    """A figure and its error as text."""
    digits = TITLES[key][1]
    return f"{figure.value:.{digits}f} ± {figure.error:.{digits}f}"


def winners(rows: Sequence[Row], key: str) -> set[str]:
    """Every set whose value is the best, whoever it is."""
    if not rows:
        return set()
    best = (max if key in HIGHER_IS_BETTER else min)(row.figures[key].value for row in rows)
    return {row.name for row in rows if row.figures[key].value == best}


def comparison_text(comparison: Comparison) -> str:
    """For the terminal; * marks the best set, the floor comes first."""
    width = max(len(row.name) for row in (comparison.floor, *comparison.rows)) + 2
    lines = [_said(comparison), f"{'':{width}}" + "".join(f"{TITLES[key][0]:>20}" for key in METRICS)]
    best = {key: winners(comparison.rows, key) for key in METRICS}
    for row in (comparison.floor, *comparison.rows):
        cells = ""
        for key in METRICS:
            star = "*" if row is not comparison.floor and row.name in best[key] else " "
            cells += f"{shown(key, row.figures[key]) + star:>20}"
        lines.append(f"{row.name:{width}}{cells}")
    return "\n".join(lines)


def generation_markdown(sections: Sequence[Section], command: str) -> str:
    """One table of all sections; the best set of each is bold, the floor in italics."""
    lines = [
        _said(sections[0].comparison) if sections else "", "",
        "| corruption | method | " + " | ".join(TITLES[key][0] for key in METRICS) + " |",
        "|---|---|" + "---|" * len(METRICS),
    ]  # fmt: skip
    for section in sections:
        found = section.comparison
        best = {key: winners(found.rows, key) for key in METRICS}
        floor = " | ".join(shown(key, found.floor.figures[key]) for key in METRICS)
        lines.append(f"| {section.title} | *floor: real images* | {floor} |")
        for row in found.rows:
            cells = []
            for key in METRICS:
                mark = "**" if row.name in best[key] else ""
                cells.append(f"{mark}{shown(key, row.figures[key])}{mark}")
            lines.append(f"| {section.title} | {row.name} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", f"    {command}", ""])


def generation_json(sections: Sequence[Section], command: str) -> str:
    """Every comparison with its title, and the command that repeats them."""
    found = [{"corruption": one.title, **json.loads(one.comparison.to_json())} for one in sections]
    return json.dumps({"command": command, "sections": found}, indent=1) + "\n"


def generation_page(sections: Sequence[Section], command: str) -> str:
    """The tables as one page."""
    heads = "".join(f'<th scope="col">{escape(TITLES[key][0])}</th>' for key in METRICS)
    terms = [f"<dt>{escape(term)}</dt><dd>{escape(text)}</dd>" for term, text in READING]
    return document("Generated images", [
        "<h1>Generated images</h1>",
        *(f'<p class="soft">{escape(_said(section.comparison))}</p>' for section in sections[:1]),
        '<div class="wide"><table><caption>★ marks the best set; the floor is what real images get.</caption>',
        f'<thead><tr><th scope="col">Method</th>{heads}</tr></thead>',
        *(line for section in sections for line in _section(section)),
        "</table></div>\n<h2>How to read this</h2>\n<dl>", *terms,
        f"<dt>To repeat</dt><dd><code>{escape(command)}</code></dd>\n</dl>",
    ])  # fmt: skip


def _section(section: Section) -> list[str]:
    found = section.comparison
    best = {key: winners(found.rows, key) for key in METRICS}
    title = f'<th scope="rowgroup" colspan="{len(METRICS) + 1}">{escape(section.title)}</th>'
    lines = [f'<tbody class="rate"><tr>{title}</tr>']
    for row in (found.floor, *found.rows):
        name = f"floor: {row.name}" if row is found.floor else row.name
        cells = "".join(
            f'<td class="{"win" if row is not found.floor and row.name in best[key] else "soft"}">'
            f"{escape(shown(key, row.figures[key]))}</td>"
            for key in METRICS
        )
        lines.append(f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>')
    return [*lines, "</tbody>"]


def _said(comparison: Comparison) -> str:
    origin = "simulated measurements" if comparison.simulated else "measurements"
    return (
        f"{comparison.data}: sets of {comparison.floor.count} images beside {comparison.real} real ones of "
        f"{comparison.patients} patients in the {comparison.split} split, whom no model has seen "
        f"(models learn from {origin} of others); {comparison.embedding} features on {comparison.dimensions} axes"
    )

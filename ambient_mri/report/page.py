"""An evaluation as one self-contained HTML page: no script, nothing fetched, prints well."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from html import escape

import numpy as np

from ambient_mri.reconstruction.results import Evaluation, Example, Row
from ambient_mri.report.figures import Series, grey, heat, interval_chart, png_uri
from ambient_mri.report.table import COLUMNS, by_acceleration, gain_sentence, missing_note, winners

ERROR_GAIN = 5  # error maps are white where the error reaches a fifth of the image's peak

STYLE = """
:root { color-scheme: light; --ink: #1a1d21; --soft: #5b636c; --line: #d7dbe0; --win: #eaf4ec; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 64rem; padding: 2rem 1.25rem 4rem; color: var(--ink); background: #fff;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .25rem; }
h2 { font-size: 1.15rem; margin: 2.25rem 0 .5rem; } h3 { font-size: 1rem; margin: 1.25rem 0 .4rem; }
p, dd { max-width: 46rem; } .soft, figcaption, small { color: var(--soft); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .92rem; }
caption { text-align: left; color: var(--soft); padding-bottom: .4rem; }
th, td { padding: .3rem .6rem; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
th[scope=row], th[scope=rowgroup], thead th:first-child { text-align: left; font-weight: 500; }
td.left, th.left { text-align: left; white-space: normal; }
thead th { font-weight: 600; border-bottom: 2px solid var(--ink); white-space: normal; vertical-align: bottom; }
tbody.rate th[scope=rowgroup] { padding-top: .9rem; font-weight: 600; border-bottom: 1px solid var(--soft); }
td.win { background: var(--win); font-weight: 700; } td.win::before { content: "★ "; font-size: .75em; }
td small { display: block; font-weight: 400; font-size: .85em; }
svg { width: 100%; height: auto; font: 12px system-ui, sans-serif; } svg text { fill: var(--ink); }
svg .grid { stroke: var(--line); }
.row { display: flex; flex-wrap: wrap; gap: .5rem; margin: 0 0 1.25rem; }
figure { margin: 0; flex: 1 1 8rem; max-width: 11.5rem; }
figure img { display: block; width: 100%; background: #000; image-rendering: pixelated; }
figure img + img { margin-top: 2px; } figcaption { font-size: .82rem; line-height: 1.3; padding-bottom: .15rem; }
code { font: .88em ui-monospace, "DejaVu Sans Mono", monospace; background: #f3f5f7; padding: .1em .3em; }
dt { font-weight: 600; margin-top: .6rem; } dd { margin-left: 0; }
@media print { body { max-width: none; padding: 0; font-size: 10pt; } h2, h3 { break-after: avoid; }
  .wide { overflow: visible; } table { font-size: 8pt; } th, td { padding: .2rem .35rem; }
  tbody, section { break-inside: avoid; } figure { max-width: 7rem; } td.win { print-color-adjust: exact; } }
"""


def evaluation_page(evaluation: Evaluation) -> str:
    """The page as text. Equal evaluations give equal bytes."""
    return document(f"Reconstruction of {evaluation.data}", _body(evaluation))


def tables_page(title: str, evaluations: Sequence[Evaluation]) -> str:
    """Several data sets on one page."""
    lines = [f"<h1>{escape(title)}</h1>"]
    for one in evaluations:
        lines += [f'<section>\n<p class="soft">{escape(one.data + missing_note(one))}</p>', *_body(one), "</section>"]
    return document(title, lines)


def _body(evaluation: Evaluation) -> list[str]:
    parts = (_head, _table, _chart, _pictures, _reading)
    return [line for part in parts for line in part(evaluation)]


def document(title: str, body: Sequence[str], style: str = "") -> str:
    """A whole page around `body`: no script may run in it and nothing is fetched."""
    return "\n".join([
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; "
        "style-src 'unsafe-inline'\">",
        f"<title>{escape(title)}</title>\n<style>{STYLE}{style}</style>\n</head>\n<body>\n<main>",
        *body,
        "</main>\n</body>\n</html>\n",
    ])  # fmt: skip


def table(head: Sequence[str], rows: Iterable[Sequence[str]], left: Collection[int] = (), caption: str = "") -> str:
    """A table of cells that are HTML already; the first cell of a row is its heading, columns in `left` hold words."""

    def cell(html: str, column: int, tag: str, scope: str = "") -> str:
        words = ' class="left"' if column in left else ""
        return f"<{tag}{scope}{words}>{html}</{tag}>"

    heads = "".join(cell(html, column, "th", ' scope="col"') for column, html in enumerate(head))
    lines = [
        cell(first, 0, "th", ' scope="row"') + "".join(cell(html, column, "td") for column, html in enumerate(rest, 1))
        for first, *rest in rows
    ]
    about = f"<caption>{caption}</caption>" if caption else ""
    top = f"<thead><tr>{heads}</tr></thead>" if head else ""
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="wide"><table>{about}{top}<tbody>{body}</tbody></table></div>'


def _head(evaluation: Evaluation) -> list[str]:
    noise = "noise as estimated from the files" if evaluation.noise_std is None else f"noise {evaluation.noise_std:g}"
    measured = "pixels" if evaluation.domain == "image" else "k-space"
    origin = f"{'simulated' if evaluation.simulated else 'acquired'} {measured}, {noise}"
    model = f" Model <code>{escape(evaluation.bundle)}</code>." if evaluation.bundle else ""
    gains = [f"<li>R = {gain.acceleration:g}: {escape(gain_sentence(gain))}.</li>" for gain in evaluation.gains]
    return [
        f"<h1>Reconstruction of {escape(evaluation.data)}</h1>",
        f'<p class="soft">{evaluation.slices} slices of {evaluation.patients} patients in the '
        f"{escape(evaluation.split)} split (split by patient); {origin}.{model}</p>",
        *(["<p>Beside the classical method that was best on validation:</p>\n<ul>", *gains, "</ul>"] if gains else []),
    ]


def _table(evaluation: Evaluation) -> list[str]:
    heads = "".join(f'<th scope="col">{escape(column.title)}</th>' for column in COLUMNS)
    lines = [
        '<h2>Figures</h2>\n<div class="wide"><table>',
        "<caption>Mean over patients with its 95 % interval. ★ marks the best value at each acceleration R.</caption>",
        f'<thead><tr><th scope="col">Method</th>{heads}<th scope="col">Network evaluations</th>'
        '<th scope="col">Seconds a slice</th><th scope="col">Tuned strength</th></tr></thead>',
    ]
    for rate, rows in by_acceleration(evaluation.rows):
        lines.append(
            f'<tbody class="rate"><tr><th scope="rowgroup" colspan="{len(COLUMNS) + 4}">R = {rate:g}</th></tr>'
        )
        lines += [_row(row, rows) for row in rows]
        lines.append("</tbody>")
    return [*lines, "</table></div>"]


def _row(row: Row, rivals: list[Row]) -> str:
    cells = []
    for column in COLUMNS:
        value, won = column.of(row), row.method in winners(rivals, column)
        interval = f"<small>{column.show(value.low)} to {column.show(value.high)}</small>"
        opening = '<td class="win">' if won else "<td>"
        cells.append(f"{opening}{column.show(value.mean)}{interval}</td>")
    strength = "–" if row.strength is None else f"{row.strength:.3g}"
    return (
        f'<tr><th scope="row">{escape(row.method)}</th>{"".join(cells)}<td>{row.nfe}</td>'
        f"<td>{row.seconds_per_slice:.3f}</td><td>{strength}</td></tr>"
    )


def _chart(evaluation: Evaluation) -> list[str]:
    groups = by_acceleration(evaluation.rows)
    methods = list(dict.fromkeys(row.method for row in evaluation.rows))
    series = []
    for method in methods:
        found = [next((row.psnr for row in rows if row.method == method), None) for _, rows in groups]
        series.append(Series(method, [None if one is None else (one.mean, one.low, one.high) for one in found]))
    title = "PSNR of every method at every acceleration, with 95 % intervals"
    return [f"<h2>{title}</h2>", interval_chart(title, "dB", [f"R = {rate:g}" for rate, _ in groups], series)]


def _pictures(evaluation: Evaluation) -> list[str]:
    if not evaluation.examples:
        return []
    lines = [
        "<h2>Pictures</h2>",
        f'<p class="soft">Above: the magnitude image, one grey scale a slice. Below: the error, {ERROR_GAIN} times '
        "magnified: black is none, white is a fifth of the slice's peak or more.</p>",
    ]
    for example in evaluation.examples:
        lines.append(
            f'<section>\n<h3>R = {example.acceleration:g} <span class="soft">{escape(example.scan_id)}</span></h3>'
        )
        lines.append('<div class="row">' + "".join(_figures(example)) + "</div>\n</section>")
    return lines


def _figures(example: Example) -> list[str]:
    truth = np.abs(np.asarray(example.truth))
    peak = float(truth.max())
    figures = [f'<figure><figcaption>truth</figcaption><img src="{png_uri(grey(truth, peak))}" alt="Truth"></figure>']
    for method, image in example.images.items():
        magnitude = np.abs(np.asarray(image))
        name = escape(method)
        figures.append(
            f"<figure><figcaption>{name}</figcaption>"
            f'<img src="{png_uri(grey(magnitude, peak))}" alt="Reconstruction by {name}">'
            f'<img src="{png_uri(heat(np.abs(magnitude - truth), peak / ERROR_GAIN))}" alt="Error of {name}"></figure>'
        )
    return figures


def _reading(evaluation: Evaluation) -> list[str]:
    return [
        "<h2>How to read this</h2>\n<dl>",
        "<dt>R</dt><dd>Acceleration: one phase-encode line (or pixel) in R was measured, on average.</dd>",
        "<dt>PSNR, SSIM, NMSE</dt><dd>On magnitude images, as the fastMRI challenge defines them: the data range "
        "is the largest value of the true volume; NMSE is the squared error over the squared truth.</dd>",
        "<dt>95 % interval</dt><dd>Patients are drawn anew with replacement; their slices stay together.</dd>",
        "<dt>Tuned strength</dt><dd>The regularisation strength of the method (for one-step, the weight of the data-"
        f"consistency solve), chosen for each R on {evaluation.tuning_slices} slices of the validation split, never on "
        "those shown here.</dd>",
        f"<dt>To reproduce</dt><dd><code>{escape(evaluation.command)}</code></dd>\n</dl>",
    ]

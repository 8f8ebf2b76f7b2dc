"""An evaluation as a page: who is ahead at each acceleration, by how much, and pictures with their errors."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from ambient_mri.evaluation.results import Evaluation, Example, Row
from ambient_mri.evaluation.tuning import HIGHEST
from ambient_mri.pictures import grey
from ambient_mri.report.figures import Series, heat, interval_chart, png_uri
from ambient_mri.report.page import document
from ambient_mri.report.table import COLUMNS, by_acceleration, gain_sentence, missing_note, winners

ERROR_GAIN = 5  # error maps are white where the error reaches a fifth of the image's peak


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


def _head(evaluation: Evaluation) -> list[str]:
    noise = (
        "noise as the files state it, or as estimated from them"
        if evaluation.noise_std is None
        else f"noise {evaluation.noise_std:g}"
    )
    measured = "pixels" if evaluation.domain == "image" else "k-space"
    origin = f"{'simulated' if evaluation.simulated else 'acquired'} {measured}, {noise}"
    model = f" Model <code>{escape(evaluation.bundle)}</code>." if evaluation.bundle else ""
    gains = [f"<li>R = {gain.acceleration:g}: {escape(gain_sentence(gain))}.</li>" for gain in evaluation.gains]
    return [
        f"<h1>Reconstruction of {escape(evaluation.data)}</h1>",
        f'<p class="soft">{escape(evaluation.scans)} (split by patient); {origin}.{model}</p>',
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
        interval = f"<small>{column.span(value)}</small>"
        opening = '<td class="win">' if won else "<td>"
        cells.append(f"{opening}{column.show(value.mean)}{interval}</td>")
    strength = "–" if row.strength is None else f"{row.strength:.4g}"
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
        "<dt>Feature distance</dt><dd>How far apart the texture of image and truth is, whatever its place: root mean "
        "square difference of scattering features. .1: 10 % too much or little, as what was smoothed away.</dd>",
        "<dt>95 % interval</dt><dd>Patients are drawn anew with replacement; their slices stay together. Of fewer than "
        "five patients it is too narrow, and of one there is none.</dd>",
        "<dt>Tuned strength</dt><dd>The regularisation strength of the method (for one-step, the weight of the data-"
        f"consistency solve), chosen for each R on {evaluation.tuning_slices} slices of the validation split, never on "
        f"those shown here. {HIGHEST:g}, a limit of the grid: the network's image is best as it is.</dd>",
        f"<dt>To reproduce</dt><dd><code>{escape(evaluation.command)}</code></dd>\n</dl>",
    ]

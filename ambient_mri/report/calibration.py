"""A calibration as text and as one self-contained page: nominal beside empirical coverage."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from ambient_mri.evaluation.reliability import Curve, Reliability
from ambient_mri.report.figures import COLOURS
from ambient_mri.report.page import document, table


def calibration_text(found: Reliability) -> str:
    """A table for the terminal."""
    lines = [f"{'nominal':>8}" + "".join(f"{_title(curve):>40}" for curve in found.curves)]
    for i, level in enumerate(found.curves[0].levels):
        cells = [f"{one.mean:.3f} [{one.low:.3f}, {one.high:.3f}]" for one in (c.coverage[i] for c in found.curves)]
        lines.append(f"{level:>8.0%}" + "".join(f"{cell:>40}" for cell in cells))
    return "\n".join([*lines, *_sentences(found)])


def calibration_page(found: Reliability) -> str:
    """The page as text. Equal calibrations give equal bytes."""
    facts = found.calibration
    origin = "simulated" if facts.simulated else "acquired"
    lines = [
        f"<h1>Calibration of {escape(facts.method)} on {escape(facts.data)}</h1>",
        f'<p class="soft">{facts.samples} samples a slice, {facts.nfe} network evaluations each; {origin} data. Fitted '
        f"on {facts.patients} validation patients, checked on {found.test_patients} test patients.</p>",
        "<ul>",
        *(f"<li>{escape(sentence)}</li>" for sentence in _sentences(found)),
        "</ul>",
    ]
    for of in dict.fromkeys(curve.of for curve in found.curves):
        lines += [f"<h2>Coverage of {escape(of)}</h2>", reliability_chart([c for c in found.curves if c.of == of])]
    return document(f"Calibration of {facts.method} on {facts.data}", [*lines, *_table(found), *_reading(found)])


def reliability_chart(curves: Sequence[Curve]) -> str:
    """Empirical against nominal coverage with 95 % bands, as SVG; on the diagonal intervals hold what they claim."""
    size, left, bottom = 420, 60, 44

    def across(nominal: float) -> float:
        return left + nominal * (size - left - 8)

    def up(covered: float) -> float:
        return 8 + (1 - covered) * (size - bottom - 8)

    def path(points: Sequence[tuple[float, float]]) -> str:
        return " ".join(f"{across(nominal):.1f},{up(covered):.1f}" for nominal, covered in points)

    title = f"Empirical against nominal coverage of {curves[0].of}"
    parts = [f'<div class="wide"><svg viewBox="0 0 720 {size}" role="img" aria-label="{escape(title)}">']
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        for line in ([(tick, 0.0), (tick, 1.0)], [(0.0, tick), (1.0, tick)]):
            parts.append(f'<polyline class="grid" points="{path(line)}"/>')
        parts.append(f'<text x="{across(tick):.1f}" y="{up(0) + 16:.1f}" text-anchor="middle">{tick:.0%}</text>')
        parts.append(f'<text x="{left - 6}" y="{up(tick) + 4:.1f}" text-anchor="end">{tick:.0%}</text>')
    parts.append(f'<polyline fill="none" stroke="#5b636c" stroke-dasharray="5 4" points="{path([(0, 0), (1, 1)])}"/>')
    for i, curve in enumerate(curves):
        colour, dashes, y = COLOURS[i % len(COLOURS)], ' stroke-dasharray="8 3"' if i else "", 30 + 22 * i
        pen = f'fill="none" stroke="{colour}" stroke-width="2"{dashes}'
        found = list(zip(curve.levels, curve.coverage, strict=True))
        band = [(level, one.high) for level, one in found] + [(level, one.low) for level, one in reversed(found)]
        parts.append(f'<polygon fill="{colour}" fill-opacity=".18" points="{path(band)}"/>')
        parts.append(f'<polyline {pen} points="{path([(level, one.mean) for level, one in found])}"/>')
        parts.append(f'<polyline {pen} points="{size + 20},{y} {size + 54},{y}"/>')
        parts.append(f'<text x="{size + 62}" y="{y + 4}">{escape(_drawn(curve))}</text>')
    parts.append(f'<text x="{size / 2}" y="{size - 6}" text-anchor="middle">nominal</text>')
    middle = f"12 {up(0.5):.1f}"
    parts.append(f'<text transform="translate({middle}) rotate(-90)" text-anchor="middle">share inside</text>')
    return "".join([*parts, "</svg></div>"])


def _title(curve: Curve) -> str:
    return f"{curve.of}, {_drawn(curve)}"


def _drawn(curve: Curve) -> str:
    return "as sampled" if curve.factor == 1 else f"times {curve.factor:.2f}"


def _sentences(found: Reliability) -> list[str]:
    facts = found.calibration
    lines = [f"Standard deviations times {facts.factor:.3f} are calibrated at {facts.level:.0%}."]
    for of in dict.fromkeys(curve.of for curve in found.curves):
        before, after = (curve.at(facts.level) for curve in found.curves if curve.of == of)
        lines.append(
            f"Nominal {facts.level:.0%} intervals cover {after.mean:.1%} of {of} of test patients (95 % interval "
            f"{after.low:.1%} to {after.high:.1%}); as sampled {before.mean:.1%}."
        )
    if found.chi_squared is not None:
        sampled, scaled = (f"{m:.2f} ({low:.2f} to {high:.2f})" for m, low, high in found.chi_squared)
        lines.append(
            f"χ² over degrees of freedom on held-out measurements, median patient (5 % to 95 %): {scaled}; as sampled "
            f"{sampled}."
        )
    return lines


def _table(found: Reliability) -> list[str]:
    rows = [
        (f"{level:.0%}", *(f"{one.mean:.1%}<small>{one.low:.1%} to {one.high:.1%}</small>" for one in covered))
        for level, *covered in zip(found.curves[0].levels, *(curve.coverage for curve in found.curves), strict=True)
    ]
    head = ("Nominal", *(escape(_title(curve)) for curve in found.curves))
    about = "Share inside, mean over test patients with its 95 % interval."
    return ["<h2>Figures</h2>", table(head, rows, caption=about)]


def _reading(found: Reliability) -> list[str]:
    return [
        "<h2>How to read this</h2>\n<dl>",
        f"<dt>Held-out measurements</dt><dd>The sampler saw {found.kept:.0%} of each scan. The rest was measured, and "
        "is compared with what the samples say, each real component on its own. An interval is for a measured sample, "
        "so that it holds the noise of the measurement, too. No reference image is needed.</dd>",
        "<dt>Coverage</dt><dd>On the dashed diagonal intervals hold what they claim. Below it they are too narrow, "
        "above it too wide. Bands are 95 % intervals over patients.</dd>",
        "<dt>Pixels</dt><dd>Only in simulation: magnitudes beside the true ones, where there is tissue. The factor was "
        "not fitted on them.</dd>",
        "<dt>The factor</dt><dd>Split conformal prediction over patients: the smallest one for which a sample of a "
        "further patient lies inside with the nominal probability. It holds for patients, masks and noise like these."
        "</dd>",
        "<dt>χ²</dt><dd>Squared residuals over their predicted variance, over their number: 1 where the prediction is "
        "right. A scan far above the others is explained worse than its samples claim.</dd>",
        f"<dt>To reproduce</dt><dd><code>{escape(found.command)}</code></dd>\n</dl>",
    ]

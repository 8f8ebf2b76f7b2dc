"""Small self-contained pictures: PNG as data URIs, and a dot-and-whisker chart as SVG."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Okabe and Ito (2008): tells apart for colour-blind readers; shapes and labels carry the same information.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")


def png_uri(picture: NDArray[np.uint8]) -> str:
    """A grey `(y, x)` or RGB `(y, x, 3)` picture as a `data:` URI."""
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode("ascii")


def heat(error: NDArray[np.floating], peak: float) -> NDArray[np.uint8]:
    """Error map: black at 0 through red and yellow to white at `peak`."""
    level = 3 * np.clip(np.nan_to_num(error) / max(peak, 1e-12), 0, 1)
    channels = [np.clip(level - shift, 0, 1) for shift in (0, 1, 2)]
    return (255 * np.stack(channels, axis=-1)).round().astype(np.uint8)


@dataclass(frozen=True)
class Series:
    """One method in a chart: a value and its interval for every group, None where there is none."""

    name: str
    points: Sequence[tuple[float, float, float] | None]


def interval_chart(title: str, unit: str, groups: Sequence[str], series: Sequence[Series]) -> str:
    """Values with 95 % intervals, one group (an acceleration) beside the other, as SVG."""
    width, height, left, top, bottom = 720, 260, 52, 14, 58
    drawn = [point for one in series for point in one.points if point is not None]
    if not drawn:
        return ""
    low, high = min(point[1] for point in drawn), max(point[2] for point in drawn)
    margin = 0.06 * (high - low) or 1.0
    low, high = low - margin, high + margin

    def across(group: int, index: int) -> float:
        step = (width - left - 10) / len(groups)
        return left + step * (group + (index + 1) / (len(series) + 1))

    def up(value: float) -> float:
        return top + (height - top - bottom) * (high - value) / (high - low)

    parts = [f'<div class="wide"><svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">']
    for tick in ticks(low, high):
        parts.append(f'<line class="grid" x1="{left}" x2="{width - 10}" y1="{up(tick):.1f}" y2="{up(tick):.1f}"/>')
        parts.append(f'<text x="{left - 6}" y="{up(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for group, label in enumerate(groups):
        centre = (across(group, 0) + across(group, len(series) - 1)) / 2
        parts.append(f'<text x="{centre:.1f}" y="{height - bottom + 18}" text-anchor="middle">{escape(label)}</text>')
    for index, one in enumerate(series):
        colour = COLOURS[index % len(COLOURS)]
        for group, point in enumerate(one.points):
            if point is None:
                continue
            x, (value, lower, upper) = across(group, index), point
            parts.append(
                f'<g stroke="{colour}" fill="{colour}"><title>{escape(one.name)}, {escape(groups[group])}: {value:.4g} '
                f"[{lower:.4g}, {upper:.4g}] {escape(unit)}</title>"
                f'<line stroke-width="2" x1="{x:.1f}" x2="{x:.1f}" y1="{up(lower):.1f}" y2="{up(upper):.1f}"/>'
                f"{_mark(index, x, up(value))}</g>"
            )
        x = left + index * (width - left - 10) / len(series)
        parts.append(f'<g fill="{colour}" stroke="{colour}">{_mark(index, x + 5, height - 16)}</g>')
        parts.append(f'<text x="{x + 14:.1f}" y="{height - 12}">{escape(one.name)}</text>')
    return "".join([*parts, f'<text x="4" y="{top}">{escape(unit)}</text></svg></div>'])


def ticks(low: float, high: float) -> list[float]:
    """About five round numbers between `low` and `high`."""
    rough = (high - low) / 5
    power = 10.0 ** np.floor(np.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    return [float(round(index * step, 12)) for index in range(int(np.ceil(low / step)), int(high // step) + 1)]


def _mark(index: int, x: float, y: float) -> str:
    """A disc, square, diamond or triangle, so that a print in grey can be read."""
    shapes = (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4.5"/>',
        f'<rect x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8"/>',
        f'<path d="M{x:.1f} {y - 5.5:.1f}l5.5 5.5-5.5 5.5-5.5-5.5z"/>',
        f'<path d="M{x:.1f} {y - 5:.1f}l5 9h-10z"/>',
        f'<path d="M{x:.1f} {y + 5:.1f}l5-9h-10z"/>',
    )
    return shapes[index % len(shapes)]

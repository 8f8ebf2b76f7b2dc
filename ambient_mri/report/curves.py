"""Lines with bands as SVG, also for readers who print in grey: every line has dashes of its own, named below."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from ambient_mri.report.figures import COLOURS, ticks

DASHES = ("", "7 4", "2 3", "9 3 2 3")
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 720, 280, 58, 12, 16, 62


@dataclass(frozen=True)
class Line:
    """Points from left to right, and perhaps a band around them."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


def line_chart(
    title: str, across: str, up: str, lines: Sequence[Line], *, logarithmic: bool = False, zero: bool = False
) -> str:
    """Lines over a common axis; `logarithmic` spaces x by its logarithm, `zero` draws y = 0."""
    lines = [line for line in lines if len(line.x)]
    if not lines:
        return ""
    at: Callable[[float], float] = math.log10 if logarithmic else float
    xs = [at(x) for line in lines for x in line.x]
    ys = [y for line in lines for y in (*line.y, *line.low, *line.high)] + ([0.0] if zero else [])
    left, right, low, high = *_widened(min(xs), max(xs), 0.02), *_widened(min(ys), max(ys), 0.05)

    def place_x(x: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (at(x) - left) / (right - left)

    def place_y(y: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - y) / (high - low)

    parts = [f'<div class="wide"><svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">']
    for tick in ticks(low, high):
        y = place_y(tick)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    marks = sorted({x for line in lines for x in line.x}) if logarithmic else ticks(left, right)
    for mark in marks:
        parts.append(f'<text x="{place_x(mark):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{mark:g}</text>')
    if zero:
        parts.append(f'<line stroke="#1a1d21" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{place_y(0):.1f}" '
                     f'y2="{place_y(0):.1f}"/>')  # fmt: skip
    for number, line in enumerate(lines):
        parts += _drawn(number, line, place_x, place_y)
        x = LEFT + number * (WIDTH - LEFT) / len(lines)
        parts.append(_stroke(number, f"M{x:.1f} {HEIGHT - 14}h26"))
        parts.append(f'<text x="{x + 32:.1f}" y="{HEIGHT - 10}">{escape(line.name)}</text>')
    middle = LEFT + (WIDTH - LEFT - RIGHT) / 2
    parts.append(f'<text x="{middle:.1f}" y="{HEIGHT - BOTTOM + 32}" text-anchor="middle">{escape(across)}</text>')
    return "".join([*parts, f'<text x="4" y="{TOP - 4}">{escape(up)}</text></svg></div>'])


def _widened(low: float, high: float, share: float) -> tuple[float, float]:
    margin = share * (high - low) or 1.0
    return low - margin, high + margin


def _drawn(number: int, line: Line, place_x: Callable[[float], float], place_y: Callable[[float], float]) -> list[str]:
    path = "L".join(f"{place_x(x):.1f} {place_y(y):.1f}" for x, y in zip(line.x, line.y, strict=True))
    parts = []
    if line.low:
        there = [f"{place_x(x):.1f} {place_y(y):.1f}" for x, y in zip(line.x, line.high, strict=True)]
        back = [f"{place_x(x):.1f} {place_y(y):.1f}" for x, y in zip(line.x, line.low, strict=True)][::-1]
        colour = COLOURS[number % len(COLOURS)]
        parts.append(f'<path d="M{"L".join(there + back)}Z" fill="{colour}" fill-opacity=".18"/>')
    parts.append(_stroke(number, f"M{path}"))
    return parts


def _stroke(number: int, path: str) -> str:
    colour, dashes = COLOURS[number % len(COLOURS)], DASHES[number % len(DASHES)]
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    return f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="2"{dashed}/>'


def exceeding(values: Sequence[float]) -> tuple[list[float], list[float]]:
    """Share of values at or above each value, as steps, from ascending `values`."""
    n = len(values)
    x, y = [], []
    for i, value in enumerate(values):
        x += [value, value]
        y += [(n - i) / n, (n - i - 1) / n]
    return x, y

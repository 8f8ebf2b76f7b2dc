"""The rows of an evaluation in order, with winners, as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from ambient_mri.evaluation.metrics import Interval
from ambient_mri.evaluation.results import Evaluation, Gain, Row


@dataclass(frozen=True)
class Column:
    """A figure of merit: how it is called, printed, and which end is better."""

    key: str
    title: str
    digits: int
    higher_is_better: bool

    def of(self, row: Row) -> Interval:
        interval: Interval = getattr(row, self.key)
        return interval

    def show(self, value: float) -> str:
        return f"{value:.{self.digits}f}"

    def span(self, found: Interval) -> str:
        """Its ends; of one patient there is no interval."""
        return "no interval" if found.low == found.high else f"{self.show(found.low)} to {self.show(found.high)}"


COLUMNS = (
    Column("psnr", "PSNR (dB)", 2, True),
    Column("ssim", "SSIM", 4, True),
    Column("nmse", "NMSE", 4, False),
    Column("features", "Feature distance", 3, False),
)


def by_acceleration(rows: Iterable[Row]) -> list[tuple[float, list[Row]]]:
    """Rows grouped by acceleration, lowest first; within a group as they came."""
    ordered = sorted(rows, key=lambda row: row.acceleration)
    return [(rate, list(group)) for rate, group in groupby(ordered, key=lambda row: row.acceleration)]


def winners(rows: Sequence[Row], column: Column) -> set[str]:
    """Every method of `rows` whose printed value is the best: who wins is marked, whoever it is."""
    finite = {row.method: column.of(row).mean for row in rows if column.of(row).mean == column.of(row).mean}
    if not finite:
        return set()
    best = column.show((max if column.higher_is_better else min)(finite.values()))
    return {method for method, value in finite.items() if column.show(value) == best}


def evaluation_text(evaluation: Evaluation) -> str:
    """A table for the terminal; the best value of each acceleration carries a star."""
    lines = [f"{'R':>4}  {'method':<12}" + "".join(f"{column.title:>29}" for column in COLUMNS) + "   NFE  s/slice"]
    for rate, rows in by_acceleration(evaluation.rows):
        best = {column.key: winners(rows, column) for column in COLUMNS}
        for row in rows:
            cells = ""
            for column in COLUMNS:
                value, star = column.of(row), "*" if row.method in best[column.key] else " "
                cell = f"{column.show(value.mean)}{star} [{column.span(value).replace(' to ', ', ')}]"
                cells += f"{cell:>29}"
            lines.append(f"{rate:>4g}  {row.method:<12}{cells}  {row.nfe:>4}  {row.seconds_per_slice:>7.3f}")
    return "\n".join([*lines, *(f"R = {gain.acceleration:g}: {gain_sentence(gain)}" for gain in evaluation.gains)])


def evaluation_markdown(evaluation: Evaluation) -> str:
    """A Markdown table; the best values of each acceleration are bold."""
    origin = "simulated" if evaluation.simulated else "acquired"
    lines = [
        f"Reconstruction of {evaluation.data}: {evaluation.scans}, {origin} data. Mean over patients and its 95 % "
        "interval; the best at each R is bold.",
        "",
        "| R | method | " + " | ".join(column.title for column in COLUMNS) + " | NFE | s a slice |",
        "|---|---|" + "---|" * (len(COLUMNS) + 2),
    ]
    for rate, rows in by_acceleration(evaluation.rows):
        best = {column.key: winners(rows, column) for column in COLUMNS}
        for row in rows:
            cells = []
            for column in COLUMNS:
                value, mark = column.of(row), "**" if row.method in best[column.key] else ""
                cells.append(f"{mark}{column.show(value.mean)}{mark} ({column.span(value)})")
            cost = f"{row.nfe} | {row.seconds_per_slice:.3f}"
            lines.append(f"| {rate:g} | {row.method} | " + " | ".join(cells) + f" | {cost} |")
    gains = [f"- R = {gain.acceleration:g}: {gain_sentence(gain)}" for gain in evaluation.gains]
    return "\n".join([*lines, "", *gains, *([""] if gains else []), f"    {evaluation.command}", ""])


def tables_markdown(title: str, evaluations: Sequence[Evaluation]) -> str:
    """Several data sets under one title."""
    parts = [f"## {one.data}{missing_note(one)}\n\n{evaluation_markdown(one)}" for one in evaluations]
    return "\n".join([f"# {title}\n", *parts])


def missing_note(evaluation: Evaluation) -> str:
    """What R is called where pixels are missing, and where nothing else is said."""
    if evaluation.domain != "image":
        return ""
    rates = [rate for rate, _ in by_acceleration(evaluation.rows)]
    return ", missing: " + ", ".join(f"{1 - 1 / rate:.0%} (R = {rate:g})" for rate in rates)


def gain_sentence(gain: Gain) -> str:
    """A network's method beside a classical one, in words that are as true when it loses."""
    side = "ahead of" if gain.psnr.mean >= 0 else "behind"
    if gain.psnr.low == gain.psnr.high:
        return f"{gain.method} is {abs(gain.psnr.mean):.2f} dB {side} {gain.rival} (one patient: no interval)"
    low, high = sorted((abs(gain.psnr.low), abs(gain.psnr.high)))
    sure = gain.psnr.low > 0 or gain.psnr.high < 0
    size = f"{low:.2f} to {high:.2f}" if sure else f"{gain.psnr.low:+.2f} to {gain.psnr.high:+.2f}"
    ending = "" if sure else ", which leaves open who is ahead"
    return f"{gain.method} is {abs(gain.psnr.mean):.2f} dB {side} {gain.rival} (95 % interval {size}{ending})"

"""Every row of the table, written to benchmarks/results.md, results.json and results.png.

    python benchmarks/table.py                    # all rows
    python benchmarks/table.py --only normal,cg   # some of them

Peers run in processes of their own with one thread, the same allocator settings and the same tolerance. Their answers
are shown to be equal to ours first; who gives another answer, or cannot be installed, is named without a time. Times
are processor seconds, programs that were started included; a busy machine disturbs them less than wall time. Only
ratios are of use.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import classical_rows
import file_rows
import growth_rows
import network_rows
import torch
from peers import Result
from side_by_side import machine

HERE = Path(__file__).parent
MARKERS = "osD^v<>PX*hdp"
ROWS: dict[str, Callable[[argparse.Namespace], Iterator[Result]]] = {
    "normal": classical_rows.normal, "cg": classical_rows.cg, "espirit": classical_rows.espirit,
    "l1": classical_rows.l1, "network": network_rows.network, "reconstruction": network_rows.reconstruction,
    "readers": file_rows.readers, "search": file_rows.search, "start": file_rows.start, "growth": growth_rows.growth,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", default=",".join(ROWS), help="rows, by comma (default: %(default)s)")
    parser.add_argument("--peers", default="sigpy,deepinv,mrpro,bartorch,BART", help="by comma (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--small", action="store_true", help="small sizes, to see that it runs")
    parser.add_argument(
        "--size", metavar="COUNT,SIZE,COILS", help="one size of one's own for all rows, 2,64,4 for example"
    )
    parser.add_argument(
        "--no-batches", action="store_true", help="leave out the rows of whole batches, which take longest"
    )
    parser.add_argument("--out", type=Path, default=HERE, help="folder of results.* (default: beside this file)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.clock = time.process_time
    given.known = lambda peers: [peer for peer in peers if peer in given.peers.split(",")]
    given.operator_sizes = [(2, 32, 2)] if given.small else [(1, 256, 8), (8, 320, 16)]
    given.solver_sizes = [(2, 32, 2)] if given.small else [(1, 320, 8), (4, 320, 16)]
    given.map_sizes = [(1, 64, 4)] if given.small else [(1, 320, 8), (1, 320, 16)]
    if given.no_batches and not given.small:
        given.operator_sizes, given.solver_sizes, given.map_sizes = [(1, 256, 8)], [(1, 320, 8)], [(1, 320, 8)]
    if given.size:
        count, size, coils = (int(n) for n in given.size.split(","))
        given.operator_sizes = given.solver_sizes = given.map_sizes = [(count, size, coils)]
    given.points = 2 if given.small else None  # of a growth curve
    results = _known(given.out / "results.json")
    for name in given.only.split(","):
        for result in ROWS[name](given):
            results[result.work] = _row(result)
            sys.stdout.write(_line(result.work, results[result.work]) + "\n")
            sys.stdout.flush()
            _write(given, results)


def _known(file: Path) -> dict[str, dict[str, object]]:
    """Rows of an earlier run, which `--only` completes."""
    return json.loads(file.read_text())["rows"] if file.exists() else {}


def _row(result: Result) -> dict[str, object]:
    return {
        "ratios": {peer: round(time / result.ours, 2) for peer, time in result.peers.items()},
        "notes": result.notes,
    }


def _line(work: str, row: dict[str, object]) -> str:
    ratios, notes = row["ratios"], row["notes"]
    assert isinstance(ratios, dict)
    assert isinstance(notes, dict)
    times = ", ".join(f"{peer} {ratio:.2f}×" for peer, ratio in sorted(ratios.items(), key=lambda item: item[1]))
    slower = ", ".join(peer for peer, ratio in ratios.items() if ratio < 1)
    remarks = "; ".join(f"{peer}: {note}" for peer, note in notes.items() if note)
    return f"| {work} | {times or '–'} | {slower or '–'} | {remarks} |"


def _write(given: argparse.Namespace, results: dict[str, dict[str, object]]) -> None:
    caption = machine(given) + f"; {version('scipy')} scipy; one thread; median of {given.repeats} turns"
    (given.out / "results.json").write_text(
        json.dumps({"machine": caption, "rows": results}, indent=1, ensure_ascii=False) + "\n"
    )
    head = ["# Ambient-mri beside its peers", "", f"{caption}.", "",
            "A ratio is the peer's processor time over ours: above 1, ambient-mri is faster.", "",
            "| work | peer's time / ours | faster than ours | answers |", "|---|---|---|---|"]  # fmt: skip
    lines = [*head, *(_line(work, row) for work, row in results.items()), ""]
    (given.out / "results.md").write_text("\n".join(lines))
    _draw(given.out / "results.png", results)


def _draw(file: Path, results: dict[str, dict[str, object]]) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = {work: row["ratios"] for work, row in results.items() if row["ratios"] and not work.startswith("start")}
    if not rows:
        return
    figure = Figure(figsize=(10, 1 + 0.5 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    peers = sorted({peer for ratios in rows.values() if isinstance(ratios, dict) for peer in ratios})
    for number, peer in enumerate(peers):
        points = [(r[peer], i) for i, r in enumerate(rows.values()) if isinstance(r, dict) and peer in r]
        axes.plot(*zip(*points, strict=True), MARKERS[number % len(MARKERS)], color=f"C{number % 10}", label=peer)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_yticks(range(len(rows)), [work.replace(", ", ",\n", 1) if len(work) > 50 else work for work in rows])
    axes.invert_yaxis()
    axes.set_xlabel("time of the peer / ours")
    axes.legend(fontsize="small", loc="upper left", bbox_to_anchor=(1, 1))
    figure.savefig(file, dpi=120, metadata={"Software": None})


if __name__ == "__main__":
    main()

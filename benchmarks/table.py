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
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from peers import Result, compare, correlated, no_worse, relative
from side_by_side import machine, scans
from torch import Tensor

from ambient_mri.data.cohort import subject
from ambient_mri.operators import Masked, Sense

HERE = Path(__file__).parent
RIDGE, SPARSITY = 0.03, 0.003


def _inputs(count: int, size: int, coils: int, *, lines: bool = True) -> dict[str, Tensor]:
    scan = scans(count, size, coils)
    assert scan.sensitivity_maps is not None
    mask = scan.mask
    if not lines:
        mask = torch.rand(count, 1, size, size, generator=torch.Generator().manual_seed(0)) < 0.25
    A = Masked(Sense(scan.sensitivity_maps), mask)
    y = scan.without_unmeasured().y if lines else A.forward(scan.adjoint())
    return {"maps": scan.sensitivity_maps, "mask": mask, "y": y, "x": A.adjoint(y)}


def normal(given: argparse.Namespace) -> Iterator[Result]:
    """Normal operator of line masks and of masks of points, beside two bare FFTs of the coil images too."""
    peers = ["sigpy", "deepinv", "mrpro", "bartorch"]
    for count, size, coils in given.operator_sizes:
        for lines in (True, False):
            inputs = _inputs(count, size, coils, lines=lines)
            inputs.pop("y")
            name = f"normal operator, {'lines' if lines else 'points'}, {count} × {coils} coils {size}²"
            yield compare(name, "normal", inputs, [*given.known(peers), "two bare FFTs"], relative(1e-5), given.repeats)


def cg(given: argparse.Namespace) -> Iterator[Result]:
    """30 iterations for peers; ours stops by its residual, at a solution within 1e-4 of theirs."""
    for count, size, coils in given.solver_sizes:
        inputs = _inputs(count, size, coils) | {"lam": torch.tensor(RIDGE)}
        inputs.pop("x")
        name = f"CG-SENSE, 30 iterations, {count} × {coils} coils {size}²"
        yield compare(
            name,
            "cg",
            inputs,
            given.known(["sigpy", "deepinv", "mrpro", "bartorch", "BART"]),
            relative(1e-4),
            given.repeats,
        )


def espirit(given: argparse.Namespace) -> Iterator[Result]:
    """Maps from a square of 25 calibration lines; the answers correlate to .9999."""
    for _, size, coils in given.map_sizes:
        inputs = _inputs(1, size, coils)
        full = Sense(inputs["maps"]).forward(inputs["x"])
        noise = torch.randn(2, *full.shape, generator=torch.Generator().manual_seed(0))
        mask = torch.zeros(1, 1, size, size, dtype=torch.bool)
        centre = slice(size // 2 - 12, size // 2 + 13)
        mask[..., centre, centre] = True
        y = torch.where(mask, full + 1e-3 * torch.complex(*noise), 0)
        given_maps = {"y": y, "mask": mask, "maps": inputs["maps"]}
        name = f"ESPIRiT maps, {coils} coils {size}²"
        yield compare(
            name, "espirit", given_maps, given.known(["sigpy", "bartorch", "BART"]), correlated(0.9999), given.repeats
        )


def l1(given: argparse.Namespace) -> Iterator[Result]:
    """30 iterations each, ours with moved grids as BART's; our error at most 1.02 times theirs."""
    for count, size, coils in given.solver_sizes:
        inputs = _inputs(count, size, coils) | {"lam": torch.tensor(SPARSITY)}
        inputs.pop("x")
        truth = np.stack([np.asarray(subject(i, size=size).images[0]) for i in range(count)]).reshape(count, size, size)
        name = f"L1-wavelet, 30 iterations, {count} × {coils} coils {size}²"
        yield compare(name, "l1", inputs, given.known(["sigpy", "BART"]), no_worse(truth, 1.02), given.repeats)


def start(given: argparse.Namespace) -> Iterator[Result]:
    """Starting the program, and importing the package, beside a bare Python."""
    programs = {
        "ambient-mri --help": ["-m", "ambient_mri", "--help"], "import ambient_mri": ["-c", "import ambient_mri"],
    }  # fmt: skip
    for name, arguments in programs.items():
        ours, bare = _started(arguments, given.repeats), _started(["-c", "pass"], given.repeats)
        yield Result(f"start: {name}", ours, {"bare Python": bare}, {"bare Python": f"{ours:.3f} s of processor time"})


def _started(arguments: list[str], repeats: int) -> float:
    import resource

    def seconds() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    times = []
    for _ in range(repeats + 1):
        before = seconds()
        subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, cwd=HERE.parent)
        times.append(seconds() - before)
    return statistics.median(times[1:])


def growth(given: argparse.Namespace) -> Iterator[Result]:
    """Exponents of the cost of CG-SENSE, fitted over slices, coils and matrix size."""
    from ambient_mri.solvers import conjugate_gradients

    curves: dict[str, list[tuple[int, tuple[int, int, int]]]] = {
        "slices": [(n, (n, 64, 4)) for n in (1, 4, 16, 64)][: given.points],
        "coils": [(n, (1, 128, n)) for n in (1, 2, 4, 8, 16, 32)][: given.points],
        "matrix": [(n, (1, n, 8)) for n in (64, 128, 256, 512)][: given.points],
    }
    for what, points in curves.items():
        costs = []
        for _, (count, size, coils) in points:
            inputs = _inputs(count, size, coils)
            A, b, lam = Masked(Sense(inputs["maps"]), inputs["mask"]), inputs["x"], torch.tensor(RIDGE)
            times = []
            for _ in range(given.repeats + 1):
                before = time.process_time()
                conjugate_gradients(A, b, lam, tolerance=1e-30, max_iterations=20)
                times.append(time.process_time() - before)
            costs.append(statistics.median(times[1:]))
        xs = [n for n, _ in points]
        exponent = float(np.polyfit(np.log(xs), np.log(costs), 1)[0])
        relatives = ", ".join(f"{n}: {cost / costs[0]:.1f}" for n, cost in zip(xs, costs, strict=True))
        yield Result(
            f"growth with {what}, 20 CG iterations", costs[0], {}, {"exponent": f"{exponent:.2f} ({relatives})"}
        )


ROWS: dict[str, Callable[[argparse.Namespace], Iterator[Result]]] = {
    "normal": normal, "cg": cg, "espirit": espirit, "l1": l1, "start": start, "growth": growth,
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
    figure = Figure(figsize=(8, 1 + 0.5 * len(rows)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    peers = sorted({peer for ratios in rows.values() if isinstance(ratios, dict) for peer in ratios})
    for peer in peers:
        points = [(r[peer], i) for i, r in enumerate(rows.values()) if isinstance(r, dict) and peer in r]
        axes.plot(*zip(*points, strict=True), "o", label=peer)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_xscale("log", base=2)
    axes.set_yticks(range(len(rows)), list(rows))
    axes.invert_yaxis()
    axes.set_xlabel("time of the peer / ours, one thread (right of 1: ambient-mri is faster)")
    axes.legend(fontsize="small")
    figure.savefig(file, dpi=120, metadata={"Software": None})


if __name__ == "__main__":
    main()

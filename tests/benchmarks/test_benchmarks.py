"""The benchmarks run, agree with sigpy, and say who is faster. Nothing is asserted about time."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "works"),
    [("operators", ("forward", "adjoint", "normal")), ("solvers", ("cg_sense", "l1_wavelet", "total_variation"))],
)
def test_benchmark_runs(name: str, works: tuple[str, ...]) -> None:
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), "--small", "--repeats", "2", "--cpu-time"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")][2:]
    assert [row.split()[1].strip(",") for row in rows] == list(works)
    for row in rows:
        ours, theirs, ratio, faster = (cell.strip() for cell in row.split(" | ")[1:5])
        assert (faster == "ambient-mri") == (float(ratio) > 1) or float(ratio) == 1
        assert float(ours) > 0
        assert float(theirs) > 0


@pytest.mark.slow
def test_search_benchmark_runs_and_all_programs_agree() -> None:
    sizes = ["--queries", "200", "--base", "2000", "-k", "5", "--repeats", "1"]
    command = [sys.executable, str(BENCHMARKS / "audit_search.py"), *sizes]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines() if "1.0000" in line]
    assert [row[0] for row in rows] == ["ambient-mri", "faiss", "scikit-learn"]


def test_a_difference_in_the_results_stops_a_benchmark() -> None:
    program = (
        "import sys, torch; sys.path.insert(0, sys.argv[1]); from side_by_side import agreement;"
        "agreement(torch.ones(3), torch.ones(3) + 1e-6, 1e-5); agreement(torch.ones(3), torch.zeros(3) + .9, 1e-2)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(BENCHMARKS)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "the results differ by 0.11" in done.stderr

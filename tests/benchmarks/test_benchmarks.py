"""The benchmarks run, agree with sigpy, and say who is faster. Nothing is asserted about time."""

from __future__ import annotations

import json
import os
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
    command = [sys.executable, str(BENCHMARKS / f"{name}.py"), "--small", "--repeats", "1", "--cpu-time"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")][2:]
    assert [row.split()[1].strip(",") for row in rows] == list(works)
    for row in rows:
        ours, theirs, ratio, faster = (cell.strip() for cell in row.split(" | ")[1:5])
        assert (faster == "ambient-mri") == (float(ratio) > 1) or float(ratio) == 1
        assert float(ours) > 0
        assert float(theirs) > 0


def test_a_difference_in_the_results_stops_a_benchmark() -> None:
    program = (
        "import sys, torch; sys.path.insert(0, sys.argv[1]); from side_by_side import agreement;"
        "agreement(torch.ones(3), torch.ones(3) + 1e-6, 1e-5); agreement(torch.ones(3), torch.zeros(3) + .9, 1e-2)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(BENCHMARKS)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "the results differ by 0.11" in done.stderr


@pytest.mark.slow
def test_the_table_names_the_ratio_of_every_row(tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / "table.py"), "--small", "--repeats", "1", "--peers", "sigpy"]
    done = subprocess.run(
        [*command, "--only", "normal,cg,start,growth", "--out", str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert len(rows) == 10
    for work, row in rows.items():
        if work.startswith(("normal", "CG")):
            assert row["ratios"]["sigpy"] > 0, row
            assert "relative difference" in row["notes"]["sigpy"]
    assert all(work in (tmp_path / "results.md").read_text() for work in rows)
    assert (tmp_path / "results.png").stat().st_size > 1000


@pytest.mark.slow
def test_programs_that_are_compared_give_equal_answers(tmp_path: Path) -> None:
    """Those of the package and the plain loops, in one process."""
    program = """if True:
        import sys; sys.path.insert(0, sys.argv[1])
        import numpy as np, torch
        import file_works, network_works
        from classical_rows import synthetic
        from network_rows import _of_one_mask
        from peers import relative
        scan = synthetic(1, 32, 2)
        given = {
            "training": {"slices": torch.tensor(8), "size": torch.tensor(32)},
            "evaluation": scan, "one-step": scan, "volume": _of_one_mask(synthetic(2, 32, 2)),
            "slices": {"kspace": torch.randn(2, 2, 8, 16, dtype=torch.complex64), "mask": torch.rand(1, 16) < .5},
            "series": {"image": torch.randint(0, 400, (3, 8, 8)).float()},
            "search": {"queries": torch.tensor(200), "base": torch.tensor(2000), "k": torch.tensor(5)},
        }
        apart = {"evaluation": 1e-2, "volume": 2e-2}  # bfloat16; the others are equal
        works, answers = network_works.WORKS | file_works.WORKS, {}
        for (peer, work), begin in works.items():
            torch.manual_seed(0)
            with torch.no_grad():
                run = begin(given[work])
                first = np.asarray(run())
                run()
            answers.setdefault(work, first)
            assert relative(apart.get(work, 0))(answers[work], first)[0], (peer, work)
        assert set(answers) == set(given)
    """
    done = subprocess.run(
        [sys.executable, "-c", program, str(BENCHMARKS)],
        capture_output=True, text=True, check=False, env=os.environ | {"TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_peer_with_another_answer_is_named_without_a_time() -> None:
    program = """if True:
        import sys; sys.path.insert(0, sys.argv[1])
        import numpy as np
        from peers import correlated, no_worse, relative, same
        rng = np.random.default_rng(0)
        maps = rng.standard_normal((3, 8, 8)) + 1j * rng.standard_normal((3, 8, 8))
        other = maps + .2 * rng.standard_normal((3, 8, 8))
        assert relative(1e-3)(maps, maps * 1.0001)[0] and not relative(1e-3)(maps, other)[0]
        assert not relative(1e-3)(maps, maps[:, :4])[0]
        assert correlated(.9999)(maps, 1j * maps)[0] and not correlated(.9999)(maps, other)[0]
        assert same(.9)(np.arange(20), np.r_[np.arange(19), 0])[0] and not same(.9)(np.arange(4), np.zeros(4))[0]
        truth = maps[0]
        assert no_worse(truth, 1.02)(truth, other[0])[0] and not no_worse(truth, 1.02)(other[0], truth)[0]
    """
    done = subprocess.run([sys.executable, "-c", program, str(BENCHMARKS)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

"""Exact nearest neighbours of the memorization audit beside scikit-learn (brute force) and plain faiss.

python benchmarks/audit_search.py
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from ambient_mri.audit.search import nearest, unit

Answer = npt.NDArray[np.int64]


def clustered(rows: int, seed: int) -> npt.NDArray[np.float32]:
    """Unit features in clusters of 30, as the slices of patients are."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((-(-rows // 30), 128)).repeat(30, 0)[:rows]
    return unit(centres + 0.6 * rng.standard_normal((rows, 128)))


def with_faiss(queries: npt.NDArray[np.float32], base: npt.NDArray[np.float32], k: int) -> Answer:
    """`IndexFlatIP`, float32, as it comes."""
    index: Any = faiss.IndexFlatIP(base.shape[1])
    index.add(base)
    return np.asarray(index.search(queries, k)[1])


def with_scikit_learn(queries: npt.NDArray[np.float32], base: npt.NDArray[np.float32], k: int) -> Answer:
    """Brute force on Euclidean distances, the same order on unit vectors."""
    from sklearn.neighbors import NearestNeighbors

    return np.asarray(NearestNeighbors(n_neighbors=k, algorithm="brute").fit(base).kneighbors(queries)[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--base", type=int, default=100_000)
    parser.add_argument("-k", type=int, default=51)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--cpu-time", action="store_true", help="of the processor, not of the clock on the wall")
    given = parser.parse_args()
    clock = time.process_time if given.cpu_time else time.perf_counter
    base, queries = clustered(given.base, 0), clustered(given.queries, 1)
    programs: dict[str, Callable[..., Answer]] = {
        "ambient-mri": lambda *data: nearest(*data).index, "faiss": with_faiss, "scikit-learn": with_scikit_learn,
    }  # fmt: skip
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    answers: dict[str, Answer] = {}
    for _ in range(given.repeats):
        for name, program in programs.items():
            started = clock()
            try:
                answers[name] = program(queries, base, given.k)
            except ImportError:
                sys.stderr.write(f"{name} is not installed and left out\n")
                continue
            seconds[name].append(clock() - started)
        if "ambient-mri" in answers and len(seconds["ambient-mri"]) == 1:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
            print(f"peak memory after the first round: {peak:.2f} GiB (all programs, data included)")
    ours = statistics.median(seconds["ambient-mri"])
    print(f"{given.queries} x {given.base} x 128, k = {given.k}, {'processor' if given.cpu_time else 'wall'} time, "
          f"{faiss.omp_get_max_threads()} threads, median of {given.repeats}")  # fmt: skip
    print("| program | seconds | times ambient-mri | same nearest |\n|---|---|---|---|")
    for name, runs in seconds.items():
        if runs:
            same = float((answers[name][:, 0] == answers["ambient-mri"][:, 0]).mean())
            print(f"| {name} | {statistics.median(runs):.2f} | {statistics.median(runs) / ours:.2f} | {same:.4f} |")


if __name__ == "__main__":
    main()

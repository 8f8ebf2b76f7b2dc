"""Batches on Dask workers of this machine: one is killed, all cases arrive, none twice; Slurm with a stand-in."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest

from ambient_mri.errors import InputError, PartlyDone
from ambient_mri.reconstruction import batch, cluster
from ambient_mri.reconstruction.batch import reconstruct

distributed = pytest.importorskip("distributed", reason="the extra 'cluster' is not installed")

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "DASK_DISTRIBUTED__DASHBOARD__LINK": ""}
CASES, DAMAGED = 24, 7


@pytest.fixture
def scans(tmp_path: Path) -> list[Path]:
    rng, paths = np.random.default_rng(0), []
    mask = np.zeros(32, np.float32)
    mask[[1, 3, 6, 9, 12, *range(14, 19), 21, 25, 30]] = 1
    for number in range(CASES):
        kspace = (rng.standard_normal((8, 2, 32, 32)) + 1j * rng.standard_normal((8, 2, 32, 32))).astype(np.complex64)
        if number == DAMAGED:
            kspace[0, 0, 4, 16] = np.nan
        paths.append(tmp_path / f"scan{number:03d}.h5")
        with h5py.File(paths[-1], "w") as file:
            file["kspace"], file["mask"], file.attrs["noise_std"] = kspace * mask, mask, 0.01
    return paths


@contextmanager
def _program(words: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "distributed.cli.dask_worker" if words[0] == "worker" else "distributed.cli.dask_"
               "scheduler", *words[1:]]  # fmt: skip
    process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextmanager
def _scheduler(folder: Path) -> Iterator[str]:
    where = folder / "scheduler.json"
    with _program(_scheduling(where)):
        yield _address(where)


def _scheduling(where: Path) -> list[str]:
    return ["scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(where)]


def _address(where: Path) -> str:
    """Of a scheduler that writes it to this file."""
    deadline = time.monotonic() + 120
    while not where.exists() or not where.read_text().endswith("}"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return str(json.loads(where.read_text())["address"])


def _worker(address: str) -> list[str]:
    return ["worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1"]


@pytest.mark.slow
def test_a_worker_that_dies_loses_no_case_and_doubles_none(
    scans: list[Path], tiny_bundle: Path, tmp_path: Path
) -> None:
    out, lines, killed = tmp_path / "out", list[str](), threading.Event()
    with _scheduler(tmp_path) as address, _program(_worker(address)) as first, _program(_worker(address)):

        def progress(line: str) -> None:
            lines.append(line)
            if line.startswith("4/"):
                first.send_signal(signal.SIGKILL)
                killed.set()

        with pytest.raises(PartlyDone, match=r"1 of 24 cases failed: .*scan007\.h5") as caught:
            reconstruct(tiny_bundle, scans, out, device="auto", formats=["nifti"], cluster=address, progress=progress)
        assert killed.is_set()
        with distributed.Client(address, set_as_default=False) as client:
            loads = client.run(lambda: batch._shared.cache_info().misses)
        assert list(loads.values()) == [1], "one worker is left; it loaded the model once"
        names = [result.source.stem for result in caught.value.done]
        assert sorted(names) == sorted(path.stem for path in scans if path.stem != "scan007"), "all arrive, none twice"
        assert sum("FAILED" in line for line in lines) == 1
        first = next(i for i, line in enumerate(lines) if line.startswith("1/"))
        assert not any("no worker" in line for line in lines[first:]), "one was there all the time"
        entries = json.loads((out / "manifest.json").read_text())["files"]
        assert set(entries) == set(names)
        assert len(list(out.glob("*.nii.gz"))) == CASES - 1
        before = {path: path.stat().st_mtime_ns for path in out.glob("scan*")}
        with pytest.raises(PartlyDone) as again:
            reconstruct(tiny_bundle, scans, out, device="auto", formats=["nifti"], cluster=address)
        assert all(result.skipped for result in again.value.done), "what a cluster made counts as done"
        assert {path: path.stat().st_mtime_ns for path in out.glob("scan*")} == before
    with pytest.raises(PartlyDone) as here:
        reconstruct(tiny_bundle, scans, out, formats=["nifti"])
    assert all(result.skipped for result in here.value.done), "with or without a cluster, one manifest"


def test_what_has_arrived_is_let_go_before_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or Dask makes it again, after the batch has ended perhaps, if the worker that still holds it dies meanwhile."""
    monkeypatch.setattr(cluster, "POLL_S", 0.05)
    with distributed.Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=None) as client:
        futures = [client.submit(abs, -number, pure=False) for number in range(5)]
        found = []
        for future, outcome in cluster._finished(cluster.Cluster(client, 5.0, ""), futures, print):
            deadline = time.monotonic() + 5
            while future.key in client.futures:  # Dask does what it is told in a thread of its own
                assert time.monotonic() < deadline, "not let go"
                time.sleep(0.01)
            found.append(outcome)
    assert sorted(found) == [0, 1, 2, 3, 4]


@pytest.mark.slow
def test_a_scheduler_that_dies_is_named_and_what_is_done_is_kept(scans: list[Path], tmp_path: Path) -> None:
    where, out = tmp_path / "scheduler.json", tmp_path / "out"
    with _program(_scheduling(where)) as scheduler:
        address = _address(where)
        with _program(_worker(address)):

            def progress(line: str) -> None:
                if line.startswith("3/"):
                    scheduler.send_signal(signal.SIGKILL)

            with pytest.raises(
                InputError, match=r"--cluster: the (cluster failed|connection).*the same command goes on"
            ):
                # a second or more each: the cases must not all be done before the scheduler is
                reconstruct(None, scans, out, method="tv", strength=1e-3, cluster=address, progress=progress)
    kept = json.loads((out / "manifest.json").read_text())
    assert len(kept["files"]) + len(kept["failed"]) >= 3  # the damaged one may be among the first


@pytest.mark.slow
def test_a_cluster_without_workers_is_said_and_given_up(
    scans: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "POLL_S", 0.2)
    monkeypatch.setattr(cluster, "TIMEOUT_S", 3.0)
    out, lines = tmp_path / "out", list[str]()
    with _scheduler(tmp_path) as address:
        with _program(_worker(address)) as only:
            with distributed.Client(address, set_as_default=False) as client:
                client.wait_for_workers(1)

            def progress(line: str) -> None:
                lines.append(line)
                if line.startswith("3/"):
                    only.send_signal(signal.SIGKILL)

            with pytest.raises(InputError, match=r"no worker for 0 min.*dask worker tcp://.*the same command goes on"):
                reconstruct(None, scans, out, method="zero-filled", cluster=address, progress=progress)
        assert any(line.startswith("no worker yet") for line in lines)
        kept = json.loads((out / "manifest.json").read_text())
        done = kept["files"]
        assert len(done) + len(kept["failed"]) >= 3, "what was done is kept; the damaged one may be among the first"
        assert len(done) < CASES - 1
        monkeypatch.setattr(cluster, "TIMEOUT_S", 60.0)
        with _program(_worker(address)), pytest.raises(PartlyDone) as caught:
            reconstruct(None, scans, out, method="zero-filled", cluster=address)
        assert sum(result.skipped for result in caught.value.done) == len(done)
        assert len(caught.value.done) == CASES - 1


SBATCH = """#!/bin/sh
grep '^#SBATCH' "$1" > {folder}/asked.txt
cp "$1" {folder}/job.sh  # as sbatch does: the script is gone once it has been submitted
sh {folder}/job.sh > {folder}/job.log 2>&1 &
echo $! >> {folder}/jobs
echo "Submitted batch job $!"
"""


@pytest.mark.slow
def test_slurm_jobs_are_workers(scans: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """sbatch and scancel are stand-ins that start the job's script on this machine, and end it."""
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "sbatch").write_text(SBATCH.format(folder=tmp_path))
    (programs / "scancel").write_text('#!/bin/sh\nkill "$@"\n')
    for program in programs.iterdir():
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    profile = tmp_path / "night.yaml"
    profile.write_text("workers: 1\ncores: 3\nmemory: 2GB\nqueue: mri\ndirectives: ['--gpus=1']\ninterface: lo\n")
    try:
        results = reconstruct(None, scans[:3], tmp_path / "out", method="zero-filled", cluster=f"slurm:{profile}")
    finally:
        for job in (tmp_path / "jobs").read_text().split() if (tmp_path / "jobs").exists() else ():
            subprocess.run(["kill", job], check=False, stderr=subprocess.DEVNULL)
    assert [result.skipped for result in results] == [False] * 3
    asked = (tmp_path / "asked.txt").read_text()
    for word in ("-p mri", "--cpus-per-task=3", "--mem=2G", "--gpus=1", "-t 08:00:00"):
        assert word in asked


def test_addresses_and_profiles_that_cannot_be_used_are_refused(tmp_path: Path, scans: list[Path]) -> None:
    for address in ("host:8786", "tcp:", "local"):
        with pytest.raises(InputError, match="is no cluster"), cluster.connected(address):
            pass
    profile = tmp_path / "night.yaml"
    with pytest.raises(InputError, match="cannot be read"):
        cluster.load_profile(profile)
    profile.write_text("wokers: 3\n")
    with pytest.raises(InputError, match="nearest is 'workers'"):
        cluster.load_profile(profile)
    profile.write_text("workers: 0\n")
    with pytest.raises(InputError, match="workers: input should be greater"):
        cluster.load_profile(profile)
    profile.write_text("- {")
    with pytest.raises(InputError, match="not YAML"):
        cluster.load_profile(profile)
    with pytest.raises(InputError, match="is no cluster"):
        reconstruct(None, scans[:1], tmp_path / "out", method="zero-filled", cluster="nowhere")


def test_a_worker_that_finds_another_model_does_not_use_it(
    scans: list[Path], tiny_bundle: Path, tmp_path: Path
) -> None:
    from ambient_mri.data.readers.magnitude import Missing
    from ambient_mri.reconstruction.job import Asked
    from ambient_mri.reconstruction.products import Choices

    choices = Choices("one-step", "cpu", None, ("nifti",))
    given = Asked(tiny_bundle, tmp_path, choices, Missing(), frozenset({"kspace"}), None, "flat")
    with pytest.raises(InputError, match="a worker finds another model here"):
        batch._shared(given, "of yesterday")

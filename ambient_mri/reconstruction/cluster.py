"""The cases of a batch on many machines: Dask workers, one task a case.

Workers see the same files under the same paths. What a worker that died was working on is given to another one. Dask
trusts everybody who can reach its ports: keep it inside a network that you trust, or use tls:// (see Dask's manual).
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ambient_mri.data.spec_problems import nearest
from ambient_mri.errors import InputError
from ambient_mri.reconstruction.cases import Case
from ambient_mri.reconstruction.manifest import Entry, Failure

TIMEOUT_S = 60.0
POLL_S = 1.0


class SlurmProfile(BaseModel):
    """What a job of a Slurm cluster asks for; one job is one worker.

    Parameters
    ----------
    workers
        Jobs at the same time, at most.
    cores, memory, walltime
        Of a job, as Slurm writes them ("16GB", "08:00:00").
    directives
        Further lines behind #SBATCH, e.g. "--gpus=1".
    patience
        Minutes without any worker, such as while the queue is long, after which the batch gives up.
    interface
        Network interface by which workers reach this machine, e.g. "ib0".
    logs
        Folder for what the jobs say.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    workers: int = Field(4, ge=1)
    cores: int = Field(4, ge=1)
    memory: str = "16GB"
    walltime: str = "08:00:00"
    queue: str | None = None
    account: str | None = None
    patience: float = Field(240, gt=0)
    directives: tuple[str, ...] = ()
    interface: str | None = None
    logs: Path | None = None


def load_profile(path: Path) -> SlurmProfile:
    """A profile from a YAML file.

    Raises
    ------
    InputError
        If it cannot be read, or says something else.
    """
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        return SlurmProfile.model_validate(document if document is not None else {})
    except OSError:
        raise InputError("cannot be read", where=str(path), remedy="Check the path") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise InputError("not YAML", where=str(path)) from None
    except ValidationError as problem:
        error = problem.errors(include_url=False)[0]
        key = ".".join(map(str, error["loc"])) or "profile"
        valid = list(SlurmProfile.model_fields)
        raise InputError(f"{key}: {error['msg'].lower()}{nearest(key, valid)}", where=str(path),
                         remedy=f"Valid keys: {', '.join(valid)}") from None  # fmt: skip


@dataclass(frozen=True)
class Cluster:
    """A client of Dask's scheduler, and for how many seconds a batch waits when there is no worker."""

    client: Any
    patience_s: float
    remedy: str


@contextmanager
def connected(address: str) -> Iterator[Cluster]:
    """A cluster by its address.

    Parameters
    ----------
    address
        "tcp://host:port" or "tls://host:port" of a scheduler that runs, or "slurm:PROFILE.yaml": jobs are submitted
        from here, and end with the batch.

    Raises
    ------
    InputError
        If it is something else, nobody answers there, or Dask is not installed.
    """
    kind, _, rest = address.partition(":")
    if kind not in ("tcp", "tls", "slurm") or not rest:
        raise InputError(f"{address!r} is no cluster", where="--cluster",
                         remedy="Such as tcp://host:8786 or slurm:profile.yaml")  # fmt: skip
    try:
        from distributed import Client
    except ModuleNotFoundError:
        raise InputError("a cluster needs Dask", remedy="Install ambient-mri[cluster]") from None
    if kind == "slurm":
        profile = load_profile(Path(rest))
        with _slurm(profile) as jobs, Client(jobs, set_as_default=False) as client:
            yield Cluster(client, 60 * profile.patience, "See squeue, or raise `patience` of the profile")
        return
    try:
        client = Client(address, timeout=TIMEOUT_S, set_as_default=False)
    except (OSError, ValueError):
        raise InputError("no scheduler answers", where=address, remedy="Start one: dask scheduler") from None
    with client:
        yield Cluster(client, TIMEOUT_S, f"Start some: dask worker {address} --nthreads 1")


@contextmanager
def _slurm(profile: SlurmProfile) -> Iterator[Any]:
    from dask_jobqueue import SLURMCluster

    threads = [f"export {name}={profile.cores}" for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")]
    try:
        cluster = SLURMCluster(
            cores=1, processes=1, job_cpu=profile.cores, memory=profile.memory, walltime=profile.walltime,
            queue=profile.queue, account=profile.account, job_extra_directives=list(profile.directives),
            interface=profile.interface, log_directory=None if profile.logs is None else str(profile.logs),
            job_script_prologue=threads, python=sys.executable,
        )  # fmt: skip
    except (OSError, ValueError, RuntimeError) as problem:
        raise InputError(f"no job can be made of the profile: {problem}", where="--cluster") from None
    with cluster:
        cluster.adapt(minimum_jobs=1, maximum_jobs=profile.workers)  # jobs that end early are submitted again
        yield cluster


def spread(
    cluster: Cluster, work: Callable[[Case], Entry | Failure], cases: Sequence[Case], progress: Callable[[str], None]
) -> Iterator[tuple[Case, Entry | Failure]]:
    """What `work` makes of each case, on the workers, in the order in which they are done.

    Parameters
    ----------
    work
        Returns an entry of the manifest, or what failed: what it raises ends the batch.

    Raises
    ------
    InputError
        If the cluster goes away or has had no worker for too long, or what `work` raised cannot be repaired by another
        worker.
    """
    from distributed import KilledWorker
    from distributed.comm.core import CommClosedError

    client = cluster.client
    futures = {client.submit(work, case, key=f"{case.name}-{number}", pure=False): case
               for number, case in enumerate(cases)}  # fmt: skip
    try:
        for future, outcome in _finished(cluster, list(futures), progress):
            case = futures.pop(future)
            if isinstance(outcome, KilledWorker):
                reason = "every worker that took it died, perhaps of memory"
                outcome = Failure(f"{case.path}: {reason}", reason)
            elif isinstance(outcome, InputError | OSError):
                raise outcome
            elif isinstance(outcome, BaseException):
                what, remedy = (
                    f"the cluster failed: {type(outcome).__name__}",
                    "Check that its workers have this version",
                )
                raise InputError(what, where="--cluster", remedy=f"{remedy}; the same command goes on")
            yield case, outcome
    except CommClosedError:
        raise InputError("the connection to the scheduler was lost", where="--cluster",
                         remedy="See whether it still runs; the same command goes on") from None  # fmt: skip
    finally:
        client.cancel(list(futures))


def _finished(
    cluster: Cluster, futures: Sequence[Any], progress: Callable[[str], None]
) -> Iterator[tuple[Any, Entry | Failure | BaseException]]:
    """Futures as they are done with what they gave, or with what was raised, also by a scheduler that was lost.

    Results are fetched as they come: one that is left with a worker is lost with it. Dask itself waits without a word,
    and without end, when no worker is left.
    """
    from distributed import as_completed
    from distributed.comm.core import CommClosedError

    finished = as_completed(futures, loop=cluster.client.loop, with_results=True, raise_errors=False)
    seen, told = time.monotonic(), 0.0
    while not finished.is_empty():
        if done := finished.next_batch(block=False):
            for future, _ in done:
                future.release()  # or Dask makes it again if the worker that still holds it dies
            for future, outcome in done:
                yield future, outcome[1] if isinstance(outcome, tuple) else outcome  # of an error: type, value, trace
            seen, told = time.monotonic(), 0.0
            continue
        time.sleep(POLL_S)
        if cluster.client.status != "running":
            raise CommClosedError
        if cluster.client.scheduler_info()["workers"]:
            seen, told = time.monotonic(), 0.0
            continue
        waited = time.monotonic() - seen
        if waited > 2 * told:
            progress(f"no worker yet, waiting for {waited:.0f} s; giving up after {cluster.patience_s / 60:.0f} min")
            told = waited
        if waited > cluster.patience_s:
            raise InputError(f"no worker for {waited / 60:.0f} min", where="--cluster",
                             remedy=f"{cluster.remedy}; the same command goes on")  # fmt: skip


def local_device(name: str) -> str:
    """The device of this worker where none was named."""
    if name != "auto":
        return name
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"

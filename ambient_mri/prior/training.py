"""`train`: from a data spec to a bundle, by the ambient objective, on a MONAI engine. The same command resumes."""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from ambient_mri.corruption import Identifiability, identifiability
from ambient_mri.data.dataset import Scans, open_scans
from ambient_mri.data.spec import DataSpec, load_spec
from ambient_mri.errors import InputError
from ambient_mri.measurement import Measurement
from ambient_mri.prior.ambientgan import AdversarialLearner, Adversaries
from ambient_mri.prior.bundle import initialise, save_bundle
from ambient_mri.prior.card import ADVERSARIAL
from ambient_mri.prior.checkpoint import resume, save_checkpoint, settle
from ambient_mri.prior.feed import Prepared, default_workers, feed
from ambient_mri.prior.learner import PEAK_RATE, Learner, Length
from ambient_mri.prior.monitor import Monitor, Preview
from ambient_mri.prior.network import architecture, build_network, has_bfloat16
from ambient_mri.prior.shipped import called
from ambient_mri.prior.steps import Batches, Draw
from ambient_mri.prior.tracking import Tracking
from ambient_mri.randomness import stream

logger = logging.getLogger("ambient_mri.training")

BATCH = 8
CHECKPOINT_STEPS, LOG_STEPS, VALIDATION_STEPS = 100, 10, 500
DEFAULT_MINUTES = 30.0


@dataclass(frozen=True)
class TrainOptions:
    """One training.

    Parameters
    ----------
    data
        Name or path of a data spec.
    out
        Folder of the run; the bundle is written to `out/bundle`.
    minutes, steps
        When to stop: whichever comes first; neither means 30 minutes. Minutes are of training, over all resumes.
    preset
        Size of the network: "tiny", "small", "deep" or "base".
    batch_size
        Slices a step, over all processes together.
    precision
        "auto" (bfloat16 where the processor has it), "float32" or "bfloat16": inside the network only.
    init
        Bundle whose weights training starts from: of the same preset, or of one with fewer of the same stages.
    peak_rate
        Highest learning rate, after the warm-up. Going on with scans like those that `init` knows, the default undoes
        some of what it learned; a third of it does not.
    workers
        Processes that prepare batches ahead; None: none on a processor, those that are free beside a GPU.
    method
        "ambient"; for comparison only: "ssdu" (the same cascade as a self-supervised unrolled network: every draw at
        σ_y, judged on what D hid; Yaman et al. 2020, weighted as in Millard and Chiew 2023), "naive" (D absent),
        "unweighted" (no inverse-probability weights) and "ambientgan" (a generator, see `prior.ambientgan`).
    mlflow
        Where MLflow keeps runs, if this is to be one of them.
    """

    data: str
    out: Path
    minutes: float | None = None
    steps: int | None = None
    preset: str = "small"
    seed: int = 0
    batch_size: int = BATCH
    precision: str = "auto"
    init: Path | None = None
    peak_rate: float = PEAK_RATE
    device: str = "cpu"
    workers: int | None = None
    method: str = "ambient"
    mlflow: str | None = None

    @property
    def length(self) -> Length:
        return Length.of(self.minutes, self.steps, DEFAULT_MINUTES)


@dataclass(frozen=True)
class _Process:
    """This process among those of a `torchrun`."""

    rank: int
    world: int

    @classmethod
    def join(cls, options: TrainOptions) -> _Process:
        world = int(os.environ.get("WORLD_SIZE", "1"))
        if world > 1 and not torch.distributed.is_initialized():
            torch.distributed.init_process_group("nccl" if options.device.startswith("cuda") else "gloo")
        if options.batch_size % world:
            raise InputError(f"{world} processes cannot share a batch of {options.batch_size}",
                             where="--nproc-per-node", remedy="Make --batch-size a multiple of it")  # fmt: skip
        return cls(int(os.environ.get("RANK", "0")), world)


def dry_run(options: TrainOptions) -> list[str]:
    """Check everything that `train` checks, and say what it would do.

    Raises
    ------
    InputError
        As `train`.
    """
    spec, scans, answer = _prepare(options)
    network = _learner(options, scans, _Process(0, 1)).network
    patients = len({scans.patient(i) for i in range(len(scans))})
    size = sum(p.numel() for p in network.parameters()) / 1e6
    return [
        f"data       {spec.name}: {len(scans)} slices of {patients} patients, "
        f"{scans.image_shape[0]} x {scans.image_shape[1]}, {'simulated' if spec.simulated else 'acquired'}",
        f"corruption {scans.pattern()}, D keeps {scans.further().keep}",
        f"check      {answer.explain()}",
        f"network    {options.preset}, {size:.1f} million parameters, {_precision(options)}",
        f"training   {options.length}, batches of {options.batch_size}, method {options.method}, seed {options.seed}",
        f"output     {options.out / 'bundle'}",
    ]


def train(options: TrainOptions, preview: Preview | None = None) -> Path:
    """Train, or resume; returns the folder of the bundle. `preview` draws the pictures shown while it runs.

    Raises
    ------
    InputError
        If the data cannot be used or cannot identify the images (see `corruption.identifiability`), or `options.out`
        holds another training.
    """
    process = _Process.join(options)
    spec, scans, answer = _prepare(options)
    logger.info("%s", answer.explain())
    learner = _learner(options, scans, process)
    if process.rank == 0:
        settle(options.out, _identity(options, spec))
    if resume(options.out, learner) if process.rank == 0 or process.world > 1 else False:
        logger.info("resumed at step %d after %.1f minutes", learner.step, learner.seconds / 60)
    if process.world > 1:
        learner.network = nn.parallel.DistributedDataParallel(learner.network)
    monitor = None
    if process.rank == 0:
        tracking = None
        if options.mlflow is not None:
            tracking = Tracking(options.mlflow, options.out.name, _identity(options, spec))
        monitor = Monitor(options.out, spec, scans, options.seed, preview, tracking)
    _run(options, learner, scans, process, monitor)
    bundle = options.out / "bundle"
    if monitor is not None:
        save_checkpoint(options.out, learner)
        summary = monitor.validate(learner)
        monitor.close()
        save_bundle(bundle, learner, spec, scans, _identity(options, spec), summary, answer)
    if process.world > 1:
        torch.distributed.barrier()
        torch.distributed.destroy_process_group()
    return bundle


def _prepare(options: TrainOptions) -> tuple[DataSpec, Scans, Identifiability]:
    spec = load_spec(options.data)
    scans = open_scans(spec, "train")
    if len(scans) == 0:
        raise InputError("the training part is empty", where=spec.name, remedy="Lower split.validation and split.test")
    architecture(options.preset)
    _precision(options)
    one, rng = scans[0], stream(options.seed, "identifiability")
    acquired = None if one.acquired is None else one.acquired[0, 0]
    answer = identifiability(scans.further(), one.encoding(), scans.image_shape, rng, acquired=acquired)
    if answer.refused and options.method == "ambient":
        raise InputError(answer.explain(), where=f"{spec.name}: acquisition.pattern")
    return spec, scans, answer


def _learner(options: TrainOptions, scans: Scans, process: _Process) -> Learner:
    """What the method trains, at its first step."""
    if options.method == ADVERSARIAL:
        if process.world > 1 or options.init is not None or options.peak_rate != PEAK_RATE:
            raise InputError("AmbientGAN trains in one process, from random weights, at rates of its own",
                             where="--method ambientgan", remedy="Leave out torchrun, --init, --peak-rate")  # fmt: skip
        adversaries = Adversaries(options.preset, scans.image_shape, options.seed).to(options.device)
        return AdversarialLearner.begin(adversaries, options.seed)
    network = build_network(architecture(options.preset), options.seed).to(options.device)
    if options.init is not None:
        initialise(options.init, network, options.preset)
    return Learner.start(network, _precision(options), options.peak_rate)


def _run(options: TrainOptions, learner: Learner, scans: Scans, process: _Process, monitor: Monitor | None) -> None:
    from ignite.engine import Engine, Events
    from monai.engines import SupervisedTrainer

    length, started = options.length, time.monotonic() - learner.seconds
    if length.progress(learner) >= 1:
        return

    def update(engine: Engine, batch: tuple[Measurement, Draw]) -> dict[str, float]:
        measurement, drawn = batch
        try:
            loss = learner.update(measurement, drawn, length.progress(learner))
        except FloatingPointError as problem:
            remedy = "Look for extreme values by `data check`, or try --precision float32; the last checkpoint is kept"
            raise InputError(str(problem), where=measurement.scan_ids[0], remedy=remedy) from problem
        loss, learner.seconds = _together(loss, time.monotonic() - started, process, options.device)
        return {"loss": loss}

    def after_step(engine: Engine) -> None:
        progress, output = length.progress(learner), cast(dict[str, float], engine.state.output)
        if monitor is not None:
            monitor.note(learner, output["loss"], progress, LOG_STEPS)
            if learner.step % CHECKPOINT_STEPS == 0:
                save_checkpoint(options.out, learner)
            if learner.step % VALIDATION_STEPS == 0 and progress < 1:  # the end of the run validates anyway
                monitor.validate(learner)
        if progress >= 1:
            engine.terminate()

    prepared = Prepared(scans, scans.further(), options.seed, options.method)
    batches = Batches(len(scans), options.batch_size, options.seed, learner.step, process.rank, process.world)
    workers = default_workers(options.device) if options.workers is None else options.workers
    trainer = SupervisedTrainer(
        device=torch.device(options.device), max_epochs=2**31, epoch_length=VALIDATION_STEPS,
        train_data_loader=feed(prepared, batches, workers, options.device), network=learner.network,
        optimizer=learner.optimisers[-1], loss_function=lambda *_: None, iteration_update=update, decollate=False,
    )  # fmt: skip
    if monitor is not None and monitor.tracking is not None:
        trainer.add_event_handler(Events.STARTED, monitor.tracking.start)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, after_step)
    logging.getLogger("ignite").setLevel(logging.ERROR)
    trainer.run()


def _together(loss: float, seconds: float, process: _Process, device: str) -> tuple[float, float]:
    """The loss of the global batch, and the clock of the first process, so that all stop at the same step."""
    if process.world == 1:
        return loss, seconds
    mine = [loss / process.world, seconds if process.rank == 0 else 0.0]
    shared = torch.tensor(mine, dtype=torch.float64, device=device)
    torch.distributed.all_reduce(shared)
    return float(shared[0]), float(shared[1])


def _precision(options: TrainOptions) -> torch.dtype:
    names = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    if options.precision == "auto":
        return torch.bfloat16 if has_bfloat16(options.device) else torch.float32
    if options.precision not in names:
        raise InputError(f"no precision {options.precision!r}", where="--precision", remedy="auto, float32 or bfloat16")
    return names[options.precision]


def _identity(options: TrainOptions, spec: DataSpec) -> dict[str, Any]:
    """What must be the same for a resume to be the same training."""
    return {
        "data": spec.name, "data_sha256": spec.sha256, "preset": options.preset, "method": options.method,
        "seed": options.seed, "batch": options.batch_size, "precision": str(_precision(options)).removeprefix("torch."),
        "init": None if options.init is None else called(options.init), "peak_rate": options.peak_rate,
    }  # fmt: skip

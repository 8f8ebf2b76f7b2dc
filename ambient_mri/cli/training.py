"""`train`, `refine` and `sample`."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ambient_mri.cli.arguments import (
    BUNDLE,
    SPEC,
    Commands,
    bundle,
    command,
    common,
    count,
    count_or_zero,
    device,
    positive,
)

PRESETS = ("tiny", "small", "deep", "base")
PROPER_SAMPLERS = ("mmps", "dds")
TRAINING_METHODS = ("ambient", "ssdu", "unweighted", "naive", "ambientgan")


def add(commands: Commands) -> None:
    add = command(
        commands,
        "train",
        "learn a prior from corrupted scans; the same command resumes",
        "train --data my.yaml --out runs/mine --minutes 60",
    )
    add.set_defaults(run=train)
    add.add_argument("--data", required=True, metavar="SPEC", help=SPEC)
    add.add_argument("--out", type=Path, default=Path("runs/train"), metavar="DIR", help="default: %(default)s")
    add.add_argument("--minutes", type=positive, metavar="M", help="stop after M minutes of training")
    add.add_argument("--steps", type=count, metavar="N", help="stop after N steps")
    add.add_argument("--preset", choices=PRESETS, default="small", help="default: %(default)s")
    add.add_argument("--batch-size", type=count, default=8, metavar="N", help="slices a step, default: %(default)s")
    add.add_argument(
        "--method",
        choices=TRAINING_METHODS,
        default="ambient",
        help="ambient, or what it is compared with: ssdu (unrolled), naive (no D), unweighted, ambientgan",
    )
    add.add_argument(
        "--precision", choices=("auto", "float32", "bfloat16"), default="auto", help="default: %(default)s"
    )
    add.add_argument(
        "--init",
        type=bundle,
        metavar="BUNDLE",
        help="start from a trained bundle of this preset, or one of fewer stages",
    )
    rate = "highest learning rate, default: %(default)s; 3e-4 to go on with scans like those that --init knows"
    add.add_argument("--peak-rate", type=positive, default=1e-3, metavar="R", help=rate)
    ahead = "processes that prepare batches; default: 0 on a processor, else up to 8. The result is the same"
    add.add_argument("--workers", type=count_or_zero, metavar="N", help=ahead)
    where = "keep the figures as an MLflow run too: http://server:5000 or sqlite:///runs.db"
    add.add_argument("--mlflow", metavar="URI", help=where)
    add.add_argument("--dry-run", action="store_true", help="check everything, say what would run, train nothing")
    common(add)

    add = command(
        commands,
        "refine",
        "an ambient prior into a proper one, by EM; the same command resumes",
        "refine runs/mine/bundle --data my.yaml --laps 4 --out runs/refined",
    )
    add.set_defaults(run=refine)
    add.add_argument("bundle", type=bundle, metavar="BUNDLE", help=BUNDLE)
    add.add_argument("--data", required=True, metavar="SPEC", help="what the bundle was trained on")
    add.add_argument("--out", type=Path, default=Path("runs/refine"), metavar="DIR", help="default: %(default)s")
    add.add_argument("--laps", type=count, default=4, metavar="N", help="default: %(default)s")
    add.add_argument("--minutes", type=positive, metavar="M", help="training a lap, default: 10")
    add.add_argument("--steps", type=count, metavar="N", help="training a lap")
    larger = "network of the first lap on: the model's own (default), or one of more of the same stages"
    add.add_argument("--preset", choices=PRESETS, help=larger)
    add.add_argument("--batch-size", type=count, default=8, metavar="N", help="images a step, default: %(default)s")
    add.add_argument("--sampler", choices=PROPER_SAMPLERS, default="mmps", help="from the second lap on, default: mmps")
    add.add_argument("--nfe", type=count, metavar="N", help="evaluations a sample, default: the sampler's")
    add.add_argument("--samples", type=count, default=1, metavar="K", help="a scan, default: %(default)s")
    common(add)

    add = command(commands, "sample", "draw images from a trained prior", "sample runs/mine/bundle -n 16 --out samples")
    add.set_defaults(run=sample)
    add.add_argument("bundle", type=bundle, metavar="BUNDLE", help=BUNDLE)
    add.add_argument("-n", "--number", type=count, default=64, metavar="N", help="of images, default: %(default)s")
    add.add_argument("--out", type=Path, required=True, metavar="DIR", help="samples.npy and samples.png")
    steps = "noise levels of the sampler, default: 12 for a prior of whole images, otherwise 18"
    add.add_argument("--steps", type=count, metavar="N", help=steps)
    add.add_argument("--batch-size", type=count, default=16, help="default: %(default)s; changes no sample")
    common(add)


def train(arguments: argparse.Namespace) -> int:
    from ambient_mri.prior.training import TrainOptions, dry_run
    from ambient_mri.prior.training import train as run
    from ambient_mri.sampling.preview import preview

    options = TrainOptions(
        data=arguments.data,
        out=arguments.out,
        minutes=arguments.minutes,
        steps=arguments.steps,
        preset=arguments.preset,
        seed=arguments.seed,
        batch_size=arguments.batch_size,
        precision=arguments.precision,
        init=arguments.init,
        peak_rate=arguments.peak_rate,
        device=device(arguments.device),
        workers=arguments.workers,
        method=arguments.method,
        mlflow=arguments.mlflow,
    )
    if arguments.dry_run:
        print("\n".join(dry_run(options)))
    else:
        folder = run(options, preview)
        if os.environ.get("RANK", "0") == "0":
            print(folder)
    return 0


def refine(arguments: argparse.Namespace) -> int:
    from ambient_mri.prior.refinement import RefineOptions
    from ambient_mri.prior.refinement import refine as run
    from ambient_mri.reconstruction.imputation import posterior

    options = RefineOptions(
        bundle=arguments.bundle,
        data=arguments.data,
        out=arguments.out,
        laps=arguments.laps,
        minutes=arguments.minutes,
        steps=arguments.steps,
        preset=arguments.preset,
        batch_size=arguments.batch_size,
        sampler=arguments.sampler,
        nfe=arguments.nfe,
        samples=arguments.samples,
        seed=arguments.seed,
        device=device(arguments.device),
    )
    print(run(options, posterior(options.samples, options.nfe)))
    return 0


def sample(arguments: argparse.Namespace) -> int:
    from ambient_mri.sampling.prior_samples import sample_to_folder

    print(
        sample_to_folder(
            arguments.bundle,
            arguments.number,
            arguments.out,
            steps=arguments.steps,
            seed=arguments.seed,
            batch_size=arguments.batch_size,
            device=device(arguments.device),
        )
    )
    return 0

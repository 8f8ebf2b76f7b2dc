"""`reconstruct`, `evaluate` and `calibrate`."""

from __future__ import annotations

import argparse
from pathlib import Path

from ambient_mri.cli.arguments import (
    EVERY_METHOD,
    MODEL,
    POSTERIOR,
    Commands,
    accelerations,
    bundle,
    command,
    common,
    count,
    device,
    figures,
    format_names,
    memory,
    method_names,
    missing_value,
    model,
    positive,
    samples,
    sampling,
    say,
    write_figures,
)  # fmt: skip


def add(commands: Commands) -> None:
    add = command(
        commands,
        "reconstruct",
        "k-space or damaged images to NIfTI, HDF5, DICOM and PNG",
        "reconstruct brain_flair_64 scans/*.h5 --out reconstructed",
    )
    add.set_defaults(run=reconstruct)
    add.add_argument("bundle", type=model, metavar="BUNDLE", help=MODEL)
    add.add_argument("files", type=Path, nargs="+", metavar="FILE", help="fastMRI, MRD, BART, NIfTI, DICOM or folders")
    add.add_argument("--out", type=Path, required=True, metavar="DIR", help="images, manifest.json and index.html")
    formats = "dicom, nifti, hdf5; default: nifti,hdf5"
    add.add_argument("--format", type=format_names, default=("nifti", "hdf5"), metavar="F,F,…", help=formats)
    masks = add.add_mutually_exclusive_group()
    masks.add_argument("--mask", type=Path, metavar="FILE", help="of images: 0 = missing; of BART: its pattern")
    masks.add_argument(
        "--missing", type=missing_value, metavar="V", help="value of missing pixels, nan, or padding (DICOM)"
    )
    add.add_argument("--layout", choices=("flat", "bids"), default="flat", help="of the outputs, default: %(default)s")
    add.add_argument("--max-memory", type=memory, metavar="SIZE", help="that the job may hold, such as 4G")
    add.add_argument("--fail-fast", action="store_true", help="stop at the first case that fails")
    add.add_argument("--cluster", metavar="WHERE", help="Dask: tcp://host:port of a scheduler, or slurm:PROFILE.yaml")
    add.add_argument("--method", choices=EVERY_METHOD, help="default: one-step, or mmps of a refined model")
    add.add_argument("--strength", type=positive, metavar="S", help="default: the bundle's, or from the noise")
    samples(add)
    common(add)

    add = command(
        commands,
        "evaluate",
        "PSNR, SSIM, NMSE and feature distance beside classical methods, where the truth is known",
        "evaluate brain_flair_64 --data brain_bids --acceleration 2,4,8 --html evaluation.html",
    )
    add.set_defaults(run=evaluate)
    add.add_argument("bundle", type=model, metavar="BUNDLE", help=MODEL)
    add.add_argument("--data", required=True, metavar="SPEC", help="scans whose true images are known")
    whose = "default: %(default)s; beside it, train says how much of what is missing is up to too few patients"
    add.add_argument("--split", choices=("train", "validation", "test"), default="test", help=whose)
    add.add_argument("--acceleration", type=accelerations, default=(), metavar="R,R,…", help="default: as in the spec")
    every = "default: all that apply but those that draw samples; of a refined model mmps and the classical ones"
    add.add_argument("--methods", type=method_names, metavar="M,M,…", help=every)
    add.add_argument("--limit", type=count, metavar="N", help="at most N slices")
    add.add_argument("--tuning-slices", type=count, default=48, metavar="N", help="of validation, default: %(default)s")
    samples(add)
    figures(add)
    common(add)

    add = command(
        commands,
        "calibrate",
        "make standard deviations of posterior samples mean what they say",
        "calibrate runs/mine/bundle --data my.yaml --samples 8 --html calibration.html",
    )
    add.set_defaults(run=calibrate)
    add.add_argument("bundle", type=bundle, metavar="BUNDLE", help="gets configs/calibration.json")
    add.add_argument("--data", required=True, metavar="SPEC", help="fitted on its validation split, checked on test")
    add.add_argument("--method", choices=POSTERIOR, help="default: a-fill, or mmps of a refined model")
    add.add_argument("--limit", type=count, metavar="N", help="at most N slices of each split")
    samples(add)
    figures(add)
    common(add)


def reconstruct(arguments: argparse.Namespace) -> int:
    from ambient_mri.data.readers.magnitude import Missing
    from ambient_mri.reconstruction.batch import reconstruct as run
    from ambient_mri.reconstruction.layout import folder_of
    from ambient_mri.reconstruction.methods import default_method
    from ambient_mri.report import write_gallery

    method = arguments.method or default_method(arguments.bundle)
    folder = folder_of(arguments.out, arguments.layout)
    try:
        results = run(
            arguments.bundle, arguments.files, arguments.out, method=method, strength=arguments.strength,
            device=arguments.device if arguments.cluster else device(arguments.device), formats=arguments.format,
            missing=Missing(arguments.mask, arguments.missing), fail_fast=arguments.fail_fast, progress=say,
            sampling=sampling(arguments, (method,)), cluster=arguments.cluster,
            max_memory=arguments.max_memory, layout=arguments.layout,
        )  # fmt: skip
    finally:  # also of a job that was interrupted, or of which some cases failed
        if (folder / "manifest.json").is_file():
            say(f"{write_gallery(folder)}")
    for result in results:
        print(result)
    return 0


def evaluate(arguments: argparse.Namespace) -> int:
    from ambient_mri.data.spec import load_spec
    from ambient_mri.evaluation.evaluate import evaluate as run
    from ambient_mri.report import evaluation_page, evaluation_text

    evaluation = run(
        arguments.bundle,
        load_spec(arguments.data),
        split=arguments.split,
        accelerations=arguments.acceleration,
        methods=arguments.methods,
        limit=arguments.limit,
        device=device(arguments.device),
        seed=arguments.seed,
        tuning_slices=arguments.tuning_slices,
        sampling=sampling(arguments, arguments.methods or POSTERIOR),  # unused where none of the methods samples
        progress=say,
    )
    print(evaluation_text(evaluation))
    write_figures(arguments, evaluation.to_json(), lambda: evaluation_page(evaluation))
    return 0


def calibrate(arguments: argparse.Namespace) -> int:
    from ambient_mri.data.spec import load_spec
    from ambient_mri.evaluation.reliability import calibrate as run
    from ambient_mri.reconstruction.methods import default_method
    from ambient_mri.report import calibration_page, calibration_text

    method = arguments.method or default_method(arguments.bundle, "a-fill")
    found = run(
        arguments.bundle, load_spec(arguments.data), method=method,
        sampling=sampling(arguments, (method,)), limit=arguments.limit, device=device(arguments.device),
        seed=arguments.seed, progress=say,
    )  # fmt: skip
    print(calibration_text(found))
    write_figures(arguments, found.to_json(), lambda: calibration_page(found))
    return 0

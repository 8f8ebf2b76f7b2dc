"""Parse, call, print: the `ambient-mri` program.

Nothing heavy is imported before a subcommand runs, so that `--help` answers at once. Exit codes: 0 done,
2 input that cannot be used (one line on standard error says what and what to do), 3 some cases of a job failed and the
others are done, 130 interrupted.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import ambient_mri
from ambient_mri import files
from ambient_mri.errors import InputError, PartlyDone

if TYPE_CHECKING:
    from ambient_mri.data.spec import DataSpec
    from ambient_mri.reconstruction.posterior import Sampling

METHODS = ("one-step", "one-step-tv", "cg-sense", "l1-wavelet", "tv", "zero-filled", "biharmonic")
POSTERIOR = ("a-fill", "a-dps", "dps", "ddrm", "dds", "mmps")
FORMATS = ("dicom", "nifti", "hdf5")
PRESETS = ("tiny", "small", "base")
TRAINING_METHODS = ("ambient", "unweighted", "naive")


class _Parser(argparse.ArgumentParser):
    """Wrong usage is one line and exit code 2, like every other bad input."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {message}. See `{self.prog} --help`\n")


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive whole number")
    return value


def _noise(text: str) -> float:
    value = float(text)
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a noise level (0 or more)")
    return value


def _accelerations(text: str) -> tuple[float, ...]:
    values = tuple(float(part) for part in text.split(","))
    if not all(1 <= value < float("inf") for value in values):
        raise argparse.ArgumentTypeError(f"{text}: accelerations are numbers of at least 1, such as 2,4,8")
    return values


def _methods(text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(","))
    for name in names:
        if name not in METHODS + POSTERIOR:
            raise argparse.ArgumentTypeError(f"{name!r} is not a method; choose among {', '.join(METHODS + POSTERIOR)}")
    return names


def _formats(text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(","))
    for name in names:
        if name not in FORMATS:
            raise argparse.ArgumentTypeError(f"{name!r} is no format; choose among {', '.join(FORMATS)}")
    return names


def _missing(text: str) -> float | str:
    if text in ("padding", "nan"):
        return text
    value = float(text)
    if not abs(value) < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a value that pixels have; say nan for NaN")
    return value


def _device(name: str) -> str:
    """`name`, or a clear refusal where this machine has no such device."""
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=name)
    except (RuntimeError, AssertionError) as problem:
        raise InputError(
            f"device {name!r} cannot be used",
            where="--device",
            remedy="Choose cpu; `ambient-mri doctor` lists what is there",
        ) from problem
    return name


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
        precision=arguments.precision,
        init=arguments.init,
        device=_device(arguments.device),
        method=arguments.method,
    )
    if arguments.dry_run:
        print("\n".join(dry_run(options)))
    else:
        bundle = run(options, preview)
        if os.environ.get("RANK", "0") == "0":
            print(bundle)
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
            device=_device(arguments.device),
        )
    )
    return 0


def _sampling(arguments: argparse.Namespace, methods: Sequence[str]) -> Sampling | None:
    if not set(methods) & set(POSTERIOR):
        return None
    from ambient_mri.reconstruction.posterior import Sampling

    return Sampling(arguments.samples, arguments.nfe, arguments.time_budget, arguments.seed)


def reconstruct(arguments: argparse.Namespace) -> int:
    from ambient_mri.data.readers.magnitude import Missing
    from ambient_mri.reconstruction.batch import reconstruct as run

    results = run(
        arguments.bundle, arguments.files, arguments.out, method=arguments.method, strength=arguments.strength,
        device=_device(arguments.device), formats=arguments.format,
        missing=Missing(arguments.mask, arguments.missing), fail_fast=arguments.fail_fast, progress=_say,
        sampling=_sampling(arguments, (arguments.method,)),
    )  # fmt: skip
    for result in results:
        print(result)
    return 0


def evaluate(arguments: argparse.Namespace) -> int:
    from ambient_mri.data.spec import load_spec
    from ambient_mri.reconstruction.evaluate import evaluate as run
    from ambient_mri.report import evaluation_page, evaluation_text

    evaluation = run(
        arguments.bundle,
        load_spec(arguments.data),
        split=arguments.split,
        accelerations=arguments.acceleration,
        methods=arguments.methods,
        limit=arguments.limit,
        device=_device(arguments.device),
        seed=arguments.seed,
        tuning_slices=arguments.tuning_slices,
        sampling=_sampling(arguments, arguments.methods),
        progress=_say,
    )
    print(evaluation_text(evaluation))
    if arguments.json is not None:
        print(files.write(arguments.json, evaluation.to_json()))
    if arguments.html is not None:
        print(files.write(arguments.html, evaluation_page(evaluation)))
    return 0


def data_list(arguments: argparse.Namespace) -> int:
    from ambient_mri.data.spec import list_specs

    specs = list_specs()
    width = max((len(spec.name) for spec in specs), default=0)
    for spec in specs:
        print(f"{spec.name:{width}}  {spec.title} ({spec.licence})")
    return 0


def data_check(arguments: argparse.Namespace) -> int:
    from ambient_mri.data.check import check

    print("\n".join(check(_spec(arguments))))
    return 0


def data_show(arguments: argparse.Namespace) -> int:
    from ambient_mri.data.contact_sheet import contact_sheet
    from ambient_mri.data.dataset import open_scans

    spec = _spec(arguments)
    out = arguments.out or Path(f"{spec.name}.png")
    scans = open_scans(spec, arguments.split, limit=arguments.number)
    print(contact_sheet(scans, out, count=arguments.number))
    return 0


def data_simulate(arguments: argparse.Namespace) -> int:
    from ambient_mri.data.prospective import simulate_files

    print(
        simulate_files(
            _spec(arguments),
            coils=arguments.coils,
            acceleration=arguments.acceleration,
            noise_std=arguments.noise,
            out=arguments.out,
            seed=arguments.seed,
            limit=arguments.limit,
        )
    )
    return 0


def doctor(arguments: argparse.Namespace) -> int:
    from ambient_mri.doctor import report

    lines, usable = report()
    print("\n".join(lines))
    return 0 if usable else 2


def _spec(arguments: argparse.Namespace) -> DataSpec:
    from ambient_mri.data.spec import load_spec

    return load_spec(arguments.spec)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="ambient-mri", description=ambient_mri.__doc__.partition("\n")[0] if ambient_mri.__doc__ else ""
    )
    parser.add_argument("--version", action="version", version=f"ambient-mri {ambient_mri.__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    add = commands.add_parser("train", help="learn a prior from corrupted scans; the same command resumes")
    add.set_defaults(run=train)
    add.add_argument("--data", required=True, metavar="SPEC", help="a name from `data list` or a YAML file")
    add.add_argument("--out", type=Path, default=Path("runs/train"), metavar="DIR", help="default: %(default)s")
    add.add_argument("--minutes", type=_positive, metavar="M", help="stop after M minutes of training")
    add.add_argument("--steps", type=_count, metavar="N", help="stop after N steps")
    add.add_argument("--preset", choices=PRESETS, default="small", help="default: %(default)s")
    add.add_argument(
        "--method",
        choices=TRAINING_METHODS,
        default="ambient",
        help="ambient, or what it is compared with: naive (no further corruption), unweighted",
    )
    add.add_argument("--precision", choices=("auto", "float32", "bfloat16"), default="auto")
    add.add_argument("--init", type=Path, metavar="BUNDLE", help="start from the weights of a trained bundle")
    add.add_argument("--dry-run", action="store_true", help="check everything, say what would run, train nothing")
    _common(add)

    add = commands.add_parser("sample", help="draw images from a trained prior")
    add.set_defaults(run=sample)
    add.add_argument("bundle", type=Path, metavar="BUNDLE")
    add.add_argument("-n", "--number", type=_count, default=64, help="default: %(default)s")
    add.add_argument("--out", type=Path, required=True, metavar="DIR")
    add.add_argument("--steps", type=_count, default=18, help="noise levels of the sampler, default: %(default)s")
    add.add_argument("--batch-size", type=_count, default=16, help="default: %(default)s; changes no sample")
    _common(add)

    add = commands.add_parser("reconstruct", help="k-space or damaged images to NIfTI, HDF5, DICOM and PNG")
    add.set_defaults(run=reconstruct)
    add.add_argument("bundle", type=Path, metavar="BUNDLE")
    add.add_argument("files", type=Path, nargs="+", metavar="FILE", help="fastMRI, MRD, BART, NIfTI, DICOM or folders")
    add.add_argument("--out", type=Path, required=True, metavar="DIR")
    add.add_argument("--format", type=_formats, default=("nifti", "hdf5"), metavar="F,F,…", help="dicom, nifti, hdf5")
    masks = add.add_mutually_exclusive_group()
    masks.add_argument("--mask", type=Path, metavar="FILE", help="of images: 0 = missing; of BART: its pattern")
    masks.add_argument("--missing", type=_missing, metavar="V", help="value of missing pixels, nan, or padding (DICOM)")
    add.add_argument("--fail-fast", action="store_true", help="stop at the first case that fails")
    add.add_argument("--method", choices=METHODS + POSTERIOR, default="one-step", help="default: %(default)s")
    add.add_argument("--strength", type=_positive, metavar="S", help="default: the bundle's, or from the noise")
    _samples(add)
    _common(add)

    add = commands.add_parser("evaluate", help="PSNR, SSIM and NMSE beside classical methods, where the truth is known")
    add.set_defaults(run=evaluate)
    add.add_argument("bundle", type=Path, metavar="BUNDLE")
    add.add_argument("--data", required=True, metavar="SPEC")
    add.add_argument("--split", choices=("validation", "test"), default="test", help="default: %(default)s")
    add.add_argument("--acceleration", type=_accelerations, default=(), metavar="R,R,…", help="default: as in the spec")
    every = "default: all that apply but those that draw samples"
    add.add_argument("--methods", type=_methods, default=METHODS, metavar="M,M,…", help=every)
    add.add_argument("--limit", type=_count, metavar="N", help="at most N slices")
    add.add_argument(
        "--tuning-slices", type=_count, default=48, metavar="N", help="of validation, default: %(default)s"
    )
    _samples(add)
    add.add_argument("--json", type=Path, metavar="FILE", help="write every figure")
    add.add_argument("--html", type=Path, metavar="FILE", help="write a self-contained page")
    _common(add)

    _data_commands(commands.add_parser("data", help="list, check, show or simulate data sets"))

    add = commands.add_parser("doctor", help="versions, device, threads, optional parts, data found")
    add.set_defaults(run=doctor)
    return parser


def _data_commands(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    add = commands.add_parser("list", help="the data specs that this installation carries")
    add.set_defaults(run=data_list)

    add = commands.add_parser("check", help="read a spec and the files it names")
    add.set_defaults(run=data_check)
    add.add_argument("spec", metavar="SPEC")

    add = commands.add_parser("show", help="a contact sheet of what was measured (never of truth)")
    add.set_defaults(run=data_show)
    add.add_argument("spec", metavar="SPEC")
    add.add_argument("--out", type=Path, metavar="FILE", help="default: SPEC.png")
    add.add_argument("--split", choices=("train", "validation", "test"), default="train", help="default: %(default)s")
    add.add_argument("-n", "--number", type=_count, default=16, help="slices to show, default: %(default)s")

    add = commands.add_parser("simulate", help="write undersampled fastMRI-format files that hold no clean data")
    add.set_defaults(run=data_simulate)
    add.add_argument("spec", metavar="SPEC")
    add.add_argument("--coils", type=_count, metavar="C", help="default: as in the spec")
    add.add_argument("--acceleration", type=_positive, metavar="R", help="default: as in the spec")
    noise = "standard deviation per real component where the image has .5; default: as in the spec"
    add.add_argument("--noise", type=_noise, metavar="SIGMA", help=noise)
    add.add_argument("--out", type=Path, required=True, metavar="DIR")
    add.add_argument("--limit", type=_count, metavar="N", help="at most N files")
    add.add_argument("--seed", type=int, default=0, help="default: %(default)s")


def _samples(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("posterior samples", f"of the methods {', '.join(POSTERIOR)}")
    group.add_argument("--samples", type=_count, default=8, metavar="K", help="a slice, default: %(default)s")
    length = group.add_mutually_exclusive_group()
    length.add_argument("--nfe", type=_count, metavar="N", help="network evaluations a sample, default: the method's")
    length.add_argument("--time-budget", type=_positive, metavar="S", help="seconds a slice, instead of --nfe")


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N; default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")


def _log_to_stderr() -> None:
    """Progress goes to standard error; only the first process of a torchrun speaks."""
    logger = logging.getLogger("ambient_mri")
    if not logger.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(message)s"))
        logger.addHandler(handler)
    logger.setLevel(logging.INFO if os.environ.get("RANK", "0") == "0" else logging.ERROR)


def _sentence(problem: Exception) -> str | None:
    """One line for input that cannot be used or what the system refused; None for a fault of the program."""
    if isinstance(problem, InputError):
        return str(problem)
    if isinstance(problem, OSError) or files.is_disk_full(problem):
        where = getattr(problem, "filename", None) or ""
        return str(InputError(files.reason(problem), where=str(where), remedy=files.remedy(problem)))
    return None


def _fail(sentence: str, code: int = 2) -> int:
    _say("ambient-mri: error: " + " ".join(sentence.split()))
    return code


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns the exit code. AMBIENT_MRI_TRACEBACK=1 shows where an error came from."""
    arguments = _parser().parse_args(argv)
    _log_to_stderr()
    try:
        return int(arguments.run(arguments))
    except KeyboardInterrupt:
        _say("interrupted")
        return 130
    except BrokenPipeError:  # the reader of our output has gone: nothing to say, and nobody to say it to
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as problem:
        sentence = _sentence(problem)
        if sentence is None or os.environ.get("AMBIENT_MRI_TRACEBACK"):
            raise
        return _fail(sentence, 3 if isinstance(problem, PartlyDone) else 2)

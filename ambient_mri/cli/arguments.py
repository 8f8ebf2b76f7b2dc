"""What arguments of the command line mean: their types, and the groups that several commands share."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ambient_mri import files
from ambient_mri.errors import InputError

if TYPE_CHECKING:
    from ambient_mri.reconstruction.posterior import Sampling

METHODS = ("one-step", "one-step-tv", "cg-sense", "l1-wavelet", "tv", "zero-filled", "biharmonic")
ITERATED = ("one-step-averaged", "plug-and-play")
POSTERIOR = ("a-fill", "a-dps", "dps", "ddrm", "dds", "mmps")
EVERY_METHOD = METHODS + ITERATED + POSTERIOR
BUNDLE = "a folder, or a name from `ambient-mri models list`"
SPEC = "a name from `ambient-mri data list`, or a YAML file"
MODEL = f"{BUNDLE}; none: for methods without a network"
SAMPLES = 8
LARGEST_SEED = 2**63 - 1
FORMATS = ("dicom", "nifti", "hdf5")


class Commands(Protocol):
    """Where a command is added: what `ArgumentParser.add_subparsers` gives."""

    def add_parser(
        self, name: str, *, help: str, description: str, epilog: str, formatter_class: type[argparse.HelpFormatter]
    ) -> argparse.ArgumentParser: ...


def command(commands: Commands, name: str, what: str, *examples: str) -> argparse.ArgumentParser:
    """A command whose help says what it does and ends with examples, each as it would be typed, on its own line."""
    lines = "\n".join(f"  ambient-mri {example}" for example in examples)
    return commands.add_parser(
        name, help=what, description=what, epilog=f"example:\n{lines}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip


def bundle(text: str) -> Path:
    """A folder, or the name of a model that the package carries."""
    from ambient_mri.prior.shipped import located

    return located(text)


def model(text: str) -> Path | None:
    """As `bundle`; "none" where no model is needed."""
    return None if text == "none" else bundle(text)


def number(text: str) -> float:
    """NaN for what is no number: no range holds it."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def positive(text: str) -> float:
    value = number(text)
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive whole number")
    return int(text)


def count_or_zero(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of 0 or more")
    return int(text)


def seed(text: str) -> int:
    """What every generator of random numbers takes."""
    if not text.isdecimal() or int(text) > LARGEST_SEED:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 0 to {LARGEST_SEED}")
    return int(text)


def noise_level(text: str) -> float:
    value = number(text)
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is not a noise level (0 or more)")
    return value


def accelerations(text: str) -> tuple[float, ...]:
    values = tuple(number(part) for part in text.split(","))
    if not all(1 <= value < math.inf for value in values):
        raise argparse.ArgumentTypeError(f"{text}: accelerations are numbers of at least 1, such as 2,4,8")
    return values


def method_names(text: str) -> tuple[str, ...]:
    return _names(text, EVERY_METHOD, "not a method")


def format_names(text: str) -> tuple[str, ...]:
    return _names(text, FORMATS, "no format")


def _names(text: str, known: Sequence[str], otherwise: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(","))
    for name in names:
        if name not in known:
            raise argparse.ArgumentTypeError(f"{name!r} is {otherwise}; choose among {', '.join(known)}")
    return names


def memory(text: str) -> int:
    """Bytes: a number with M or G, GiB without."""
    units = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
    number = text.upper().removesuffix("IB").removesuffix("B")
    unit = units[number[-1]] if number and number[-1] in units else units["G"]
    return int(positive(number.rstrip("KMGT")) * unit)


def missing_value(text: str) -> float | str:
    if text in ("padding", "nan"):
        return text
    value = float(text)
    if not abs(value) < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not a value that pixels have; say nan for NaN")
    return value


def device(name: str) -> str:
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


NUMBERS: dict[str, Callable[[str], float]] = {
    "minutes": positive,
    "noise": noise_level,
    "missing": number,
    "seed": seed,
}
COUNTS = ("batch-size", "image-size", "lap-steps", "laps", "limit", "nfe", "number", "patients", "samples", "steps",
          "tuning-slices")  # fmt: skip


def options(
    parser: argparse.ArgumentParser, defaults: Mapping[str, object], about: str = "default: %(default)s"
) -> None:
    """Options of a pipeline by their names: numbers are held to what the commands take, anything else is text."""
    types = NUMBERS | dict.fromkeys(COUNTS, count)
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", type=types.get(name, str), default=default, help=about)


def samples(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("posterior samples", f"of the methods {', '.join(POSTERIOR)}")
    group.add_argument("--samples", type=count, metavar="K", help=f"a slice, default: {SAMPLES}")
    length = group.add_mutually_exclusive_group()
    length.add_argument("--nfe", type=count, metavar="N", help="network evaluations a sample, default: the method's")
    length.add_argument("--time-budget", type=positive, metavar="S", help="seconds a slice, instead of --nfe")


def sampling(arguments: argparse.Namespace, methods: Sequence[str]) -> Sampling | None:
    if not set(methods) & set(POSTERIOR):
        for flag in ("samples", "nfe", "time_budget"):
            if getattr(arguments, flag) is not None:
                raise InputError(
                    f"{', '.join(methods)} draw{'s' if len(methods) == 1 else ''} no samples",
                    where=f"--{flag.replace('_', '-')}",
                    remedy=f"Leave it out, or ask for a method that draws them, such as {POSTERIOR[0]}",
                )
        return None
    from ambient_mri.reconstruction.posterior import Sampling

    return Sampling(arguments.samples or SAMPLES, arguments.nfe, arguments.time_budget, arguments.seed)


def common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda or cuda:N; default: %(default)s")
    parser.add_argument("--seed", type=seed, default=0, metavar="N", help="of all draws, default: %(default)s")


def as_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="JSON on standard output instead of text")


def figures(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write a self-contained page")


def write_figures(arguments: argparse.Namespace, document: str, page: Callable[[], str]) -> None:
    """The files that `figures` asks for; their paths go to standard output."""
    if arguments.json is not None:
        print(files.write(arguments.json, document))
    if arguments.html is not None:
        print(files.write(arguments.html, page()))


def print_json(value: object) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)

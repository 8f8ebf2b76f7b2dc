"""`compare-samples`."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from ambient_mri.cli.arguments import Commands, command, count, figures, seed, write_figures
from ambient_mri.errors import InputError


def add(commands: Commands) -> None:
    add = command(
        commands,
        "compare-samples",
        "distances of generated images to unseen real ones",
        "compare-samples ours=samples/ours gan=samples/gan --data my.yaml --html compared.html",
    )
    add.set_defaults(run=compare_samples)
    add.add_argument("samples", type=named_path, nargs="+", metavar="[NAME=]SAMPLES", help="folder or samples.npy")
    add.add_argument("--data", required=True, metavar="SPEC", help="whose images the samples should look like")
    add.add_argument("--split", choices=("validation", "test"), default="test", help="default: %(default)s")
    add.add_argument("--limit", type=count, metavar="N", help="at most N images of each set")
    add.add_argument("--seed", type=seed, default=0, metavar="N", help="of all draws, default: %(default)s")
    figures(add)


def named_path(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    return (name, Path(path)) if equals else (text, Path(text))


def compare_samples(arguments: argparse.Namespace) -> int:
    from ambient_mri.data.spec import load_spec
    from ambient_mri.generation.compare import compare
    from ambient_mri.report.generation import Section, comparison_text, generation_page

    if len(dict(arguments.samples)) < len(arguments.samples):
        raise InputError("two sets have one name, and one of them would be left out", where="SAMPLES",
                         remedy="Give each a name of its own, as NAME=SAMPLES")  # fmt: skip
    named = [f"{name}={path}" for name, path in arguments.samples]
    words = ["ambient-mri", "compare-samples", *named, "--data", arguments.data, "--split", arguments.split]
    words += ["--limit", str(arguments.limit)] if arguments.limit is not None else []
    command = shlex.join([*words, "--seed", str(arguments.seed)])
    found = compare(
        dict(arguments.samples), load_spec(arguments.data), split=arguments.split, limit=arguments.limit,
        seed=arguments.seed, command=command,
    )  # fmt: skip
    print(comparison_text(found))
    write_figures(arguments, found.to_json(), lambda: generation_page([Section(found.data, found)], command))
    return 0

"""`data list | check | show | simulate`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ambient_mri.cli.arguments import SPEC, Commands, as_json, command, count, noise_level, positive, print_json, seed

if TYPE_CHECKING:
    from ambient_mri.data.spec import DataSpec


def add(commands: Commands) -> None:
    parser = command(commands, "data", "list, check, show or simulate data sets", "data check my.yaml")
    within = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    add = command(within, "list", "the data specs that this installation carries", "data list")
    add.set_defaults(run=data_list)
    as_json(add)

    add = command(within, "check", "read a spec and the files it names", "data check my.yaml")
    add.set_defaults(run=data_check)
    add.add_argument("spec", metavar="SPEC", help=SPEC)

    add = command(
        within,
        "show",
        "a contact sheet of what was measured (never of truth)",
        "data show my.yaml -n 8 --out sheet.png",
    )
    add.set_defaults(run=data_show)
    add.add_argument("spec", metavar="SPEC", help=SPEC)
    add.add_argument("--out", type=Path, metavar="FILE", help="default: SPEC.png")
    add.add_argument("--split", choices=("train", "validation", "test"), default="train", help="default: %(default)s")
    add.add_argument("-n", "--number", type=count, default=16, metavar="N", help="slices to show, default: %(default)s")

    add = command(
        within,
        "simulate",
        "write undersampled fastMRI-format files that hold no clean data",
        "data simulate brain_demo --acceleration 4 --noise 0.02 --limit 2 --out scans",
    )
    add.set_defaults(run=data_simulate)
    add.add_argument("spec", metavar="SPEC", help=SPEC)
    add.add_argument("--coils", type=count, metavar="C", help="default: as in the spec")
    add.add_argument("--acceleration", type=positive, metavar="R", help="default: as in the spec")
    noise = "standard deviation per real component where the image has .5; default: as in the spec"
    add.add_argument("--noise", type=noise_level, metavar="SIGMA", help=noise)
    add.add_argument("--out", type=Path, required=True, metavar="DIR", help="the truth goes to DIR/truth")
    add.add_argument("--limit", type=count, metavar="N", help="at most N files")
    add.add_argument("--seed", type=seed, default=0, metavar="N", help="of all draws, default: %(default)s")


def data_list(arguments: argparse.Namespace) -> int:
    from ambient_mri.data.spec import list_specs

    specs = list_specs()
    if arguments.json:
        print_json([spec.model_dump(mode="json") | {"sha256": spec.sha256} for spec in specs])
        return 0
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


def _spec(arguments: argparse.Namespace) -> DataSpec:
    from ambient_mri.data.spec import load_spec

    return load_spec(arguments.spec)

"""`data list | check | show | simulate`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ambient_mri.cli.arguments import Commands, count, noise_level, positive

if TYPE_CHECKING:
    from ambient_mri.data.spec import DataSpec


def add(commands: Commands) -> None:
    parser = commands.add_parser("data", help="list, check, show or simulate data sets")
    within = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    add = within.add_parser("list", help="the data specs that this installation carries")
    add.set_defaults(run=data_list)

    add = within.add_parser("check", help="read a spec and the files it names")
    add.set_defaults(run=data_check)
    add.add_argument("spec", metavar="SPEC")

    add = within.add_parser("show", help="a contact sheet of what was measured (never of truth)")
    add.set_defaults(run=data_show)
    add.add_argument("spec", metavar="SPEC")
    add.add_argument("--out", type=Path, metavar="FILE", help="default: SPEC.png")
    add.add_argument("--split", choices=("train", "validation", "test"), default="train", help="default: %(default)s")
    add.add_argument("-n", "--number", type=count, default=16, help="slices to show, default: %(default)s")

    add = within.add_parser("simulate", help="write undersampled fastMRI-format files that hold no clean data")
    add.set_defaults(run=data_simulate)
    add.add_argument("spec", metavar="SPEC")
    add.add_argument("--coils", type=count, metavar="C", help="default: as in the spec")
    add.add_argument("--acceleration", type=positive, metavar="R", help="default: as in the spec")
    noise = "standard deviation per real component where the image has .5; default: as in the spec"
    add.add_argument("--noise", type=noise_level, metavar="SIGMA", help=noise)
    add.add_argument("--out", type=Path, required=True, metavar="DIR")
    add.add_argument("--limit", type=count, metavar="N", help="at most N files")
    add.add_argument("--seed", type=int, default=0, help="default: %(default)s")


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


def _spec(arguments: argparse.Namespace) -> DataSpec:
    from ambient_mri.data.spec import load_spec

    return load_spec(arguments.spec)

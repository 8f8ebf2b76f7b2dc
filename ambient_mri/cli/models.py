"""`models list | show`: trained models that the package carries."""

from __future__ import annotations

import argparse
from pathlib import Path

from ambient_mri.cli.arguments import Commands, bundle, command


def add(commands: Commands) -> None:
    parser = command(commands, "models", "list or show the trained models that the package carries", "models list")
    within = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    add = command(within, "list", "names, for use wherever a bundle is taken", "models list")
    add.set_defaults(run=models_list)

    add = command(
        within,
        "show",
        "the model card: data, masks, noise, results, verdict of the audit, limits",
        "models show brain_flair_64",
    )
    add.set_defaults(run=models_show)
    add.add_argument("bundle", type=bundle, metavar="MODEL", help="a name from `models list`, or a bundle")


def models_list(arguments: argparse.Namespace) -> int:
    from ambient_mri.prior.bundle import load_card
    from ambient_mri.prior.shipped import shipped

    found = shipped()
    width = max(map(len, found), default=0)
    for name, path in found.items():
        card = load_card(path)
        size = " x ".join(map(str, card.image_shape))
        print(f"{name:{width}}  {card.title} ({size}, {card.coils} coils, {card.slices} slices, {card.licence})")
    return 0


def models_show(arguments: argparse.Namespace) -> int:
    from ambient_mri.prior.bundle import load_card

    path: Path = arguments.bundle
    print(load_card(path).markdown())
    for page in sorted((path / "docs").glob("*.md")):
        if page.name != "README.md":
            print(page.read_text("utf-8"))
    print(path)
    return 0

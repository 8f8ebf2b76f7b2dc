"""`models list | show`: trained models that the package carries."""

from __future__ import annotations

import argparse
from pathlib import Path

from ambient_mri.cli.arguments import Commands, as_json, bundle, command, print_json


def add(commands: Commands) -> None:
    parser = command(commands, "models", "list or show the trained models that the package carries", "models list")
    within = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    add = command(within, "list", "names, for use wherever a bundle is taken", "models list")
    add.set_defaults(run=models_list)
    as_json(add)

    add = command(
        within,
        "show",
        "the model card: data, masks, noise, results, verdict of the audit, limits",
        "models show brain_flair_64",
    )
    add.set_defaults(run=models_show)
    add.add_argument("bundle", type=bundle, metavar="MODEL", help="a name from `models list`, or a bundle")
    as_json(add)


def models_list(arguments: argparse.Namespace) -> int:
    from ambient_mri.prior.bundle import load_card
    from ambient_mri.prior.shipped import shipped

    found = shipped()
    if arguments.json:
        print_json([_entry(name, path) for name, path in found.items()])
        return 0
    width = max(map(len, found), default=0)
    for name, path in found.items():
        card = load_card(path)
        size = " x ".join(map(str, card.image_shape))
        facts = f"{size}, {card.coils} coils, {card.slices} slices, {card.licence}"
        print(f"{name:{width}}  {card.title}: {card.kind} ({facts})")
    return 0


def models_show(arguments: argparse.Namespace) -> int:
    from ambient_mri.prior.bundle import load_card

    path: Path = arguments.bundle
    if arguments.json:
        print_json(_entry(path.name, path))
        return 0
    print(load_card(path).markdown())
    for page in sorted((path / "docs").glob("*.md")):
        if page.name != "README.md":
            print(page.read_text("utf-8"))
    print(path)
    return 0


def _entry(name: str, path: Path) -> dict[str, object]:
    """A model as JSON has it: where it lies, and its card."""
    from ambient_mri.prior.bundle import load_card

    return {"name": name, "path": str(path), "card": load_card(path).model_dump(mode="json")}

"""Trained models that the package carries: found by name wherever the folder of a bundle is taken."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ambient_mri import files

FOLDER = Path(__file__).parents[1] / "models"


def shipped() -> dict[str, Path]:
    """Folders of the bundles in the package, by name."""
    return {path.parents[1].name: path.parents[1] for path in sorted(FOLDER.glob("*/configs/card.json"))}


def located(name: str) -> Path:
    """The bundle called `name`: a folder, or else a model of the package."""
    path = Path(name)
    return path if path.exists() else shipped().get(name, path)


def called(bundle: Path) -> str:
    """What `located` finds again: the name of a model of the package, the path of any other bundle."""
    return next((name for name, path in shipped().items() if path == bundle), str(bundle))


def ship(bundle: Path, name: str, pages: Mapping[str, str], folder: Path = FOLDER) -> Path:
    """A bundle as the package carries it: weights in half precision, and `pages` beside the card in `docs`.

    It takes the place of an earlier model of that name, whose calibration is not of these weights.

    Raises
    ------
    InputError
        If a file cannot be read or written.
    """
    from safetensors.torch import load_file, save

    target = folder / name
    earlier = {path for path in target.rglob("*") if path.is_file()}
    for path in sorted(path for path in bundle.rglob("*") if path.is_file()):
        if path.suffix == ".safetensors":
            halved = {
                key: value.half() if value.is_floating_point() else value for key, value in load_file(path).items()
            }
            earlier.discard(files.write(target / path.relative_to(bundle), save(halved)))
        elif path.name != "card.json":
            earlier.discard(files.write(target / path.relative_to(bundle), path.read_bytes()))
    for page, text in pages.items():
        earlier.discard(files.write(target / "docs" / page, text))
    card = target / "configs" / "card.json"
    for path in earlier - {card}:
        path.unlink()
    files.write(card, (bundle / "configs" / "card.json").read_bytes())  # last: it is whole
    return target

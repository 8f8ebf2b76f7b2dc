"""The same images under other corruptions: specs derived from one, for tables.

Nothing is mirrored or shifted in their trainings: samples would be moved too, and told from real images by where the
head lies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ambient_mri import files
from ambient_mri.data.facts import FastMRI
from ambient_mri.data.spec import DataSpec
from ambient_mri.errors import InputError

CALIBRATION_FRACTION = 0.08


@dataclass(frozen=True)
class Corrupted:
    """One corruption.

    Parameters
    ----------
    spec
        The YAML file.
    whole
        Whether nothing is missing.
    """

    name: str
    title: str
    spec: Path
    whole: bool


def corrupted(
    base: DataSpec, missing: Sequence[float], accelerations: Sequence[float], folder: Path
) -> list[Corrupted]:
    """Specs of the images of `base` with shares of the pixels missing, and with k-space lines undersampled.

    Raises
    ------
    InputError
        If the data are acquired k-space, which has no other corruption than its own, or a law cannot be.
    """
    if isinstance(base.source, FastMRI):
        raise InputError("acquired k-space cannot be turned into missing pixels", where=base.name,
                         remedy="Give a spec of images: brain_demo, bids or images")  # fmt: skip
    cases = []
    for share in missing:
        law = {"kind": "pixels", "missing": share}
        pixels = {"domain": "image", "coils": 1, "phase": "none", "pattern": law}
        if share == 0:  # the law of D is never drawn from: nobody trains an ambient model on whole images here
            pixels |= {"pattern": {"kind": "fully_sampled"}, "further": {"pattern": {"kind": "pixels", "missing": 0.5}}}
        cases.append(_written(base, f"pixels_{share:g}", f"p = {share:g} of the pixels missing", pixels, folder))
    for rate in accelerations:
        lines = {
            "domain": "kspace",
            "pattern": {"kind": "random_lines", "acceleration": rate, "calibration_fraction": CALIBRATION_FRACTION},
        }
        cases.append(_written(base, f"lines_{rate:g}", f"k-space lines, R = {rate:g}", lines, folder))
    return cases


def _written(base: DataSpec, name: str, title: str, acquisition: dict[str, Any], folder: Path) -> Corrupted:
    facts = base.model_dump(mode="json")
    changed = facts["acquisition"] | acquisition
    changed["further"] = {"keep": facts["acquisition"]["further"]["keep"]} | acquisition.get("further", {})
    if acquisition["domain"] == "kspace":
        changed["coils"] = changed["coils"] or 1
    document = facts | {"name": f"{base.name}_{name}", "acquisition": changed, "symmetry": None}
    path = files.write(folder / f"{name}.yaml", yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
    return Corrupted(name, title, path, changed["pattern"]["kind"] == "fully_sampled")

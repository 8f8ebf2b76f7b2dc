"""Where the files of a data set are looked for."""

from __future__ import annotations

import os
from pathlib import Path

from ambient_mri.data.facts import BrainDemo
from ambient_mri.data.spec import DataSpec
from ambient_mri.errors import InputError

DATA_VARIABLE = "AMBIENT_MRI_DATA"


def places(root: str) -> list[Path]:
    """Every folder that `root` may stand for, in the order they are looked at."""
    path = Path(root).expanduser()
    if path.is_absolute():
        return [path]
    stated = os.environ.get(DATA_VARIABLE)
    folders = [Path(stated).expanduser()] if stated else []
    every = [folder / path for folder in (*folders, Path.cwd(), Path.cwd().parent / "shared" / "data")]
    return list(dict.fromkeys(every))  # a folder that is stated and found is named once


def locate(spec: DataSpec) -> Path:
    """The folder of a data set.

    Raises
    ------
    InputError
        If it is nowhere: names every place looked at, where the data are requested, and what works without.
    """
    if isinstance(spec.source, BrainDemo):
        raise TypeError("brain_demo has no files")
    looked_at = places(spec.source.root)
    for place in looked_at:
        if place.is_dir():
            return place
    obtain = f"The files are requested at {spec.source.obtain}; " if spec.source.obtain else ""
    raise InputError(
        f"the data set is not here; looked for {', '.join(map(str, looked_at))}",
        where=spec.name,
        remedy=f"{obtain}{'set' if obtain else 'Set'} {DATA_VARIABLE} to the folder that holds {spec.source.root}. "
        "`--data brain_demo` needs no files",
    )

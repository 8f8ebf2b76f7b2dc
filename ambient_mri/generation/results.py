"""What a comparison of samples found: plain data, and as JSON."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass

FORMAT = "ambient-mri generation 1"
METRICS = ("frechet", "kernel", "sliced_wasserstein", "spectrum_db", "precision", "recall")
HIGHER_IS_BETTER = ("precision", "recall")


@dataclass(frozen=True)
class Figure:
    """A value and its standard error over patients of the real set (and samples)."""

    value: float
    error: float


@dataclass(frozen=True)
class Row:
    """One set of images beside the real ones; `figures` by the names in `METRICS`."""

    name: str
    count: int
    figures: dict[str, Figure]


@dataclass(frozen=True)
class Comparison:
    """Every figure, the floor, and what is needed to repeat it.

    Parameters
    ----------
    simulated
        Whether the measurements of the data set are simulated; the real images are those behind them.
    real, patients
        Unseen real images that all sets are compared with, and how many patients they are of.
    floor
        Other real images, as many as each set has: what a perfect generator would get.
    """

    data: str
    data_sha256: str
    simulated: bool
    split: str
    real: int
    patients: int
    embedding: str
    dimensions: int
    seed: int
    command: str
    floor: Row
    rows: tuple[Row, ...]

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self) | {"format": FORMAT}, indent=1) + "\n"

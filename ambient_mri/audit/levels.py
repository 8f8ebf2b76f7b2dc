"""How much an audit does: quick to see that everything runs, standard for a report, full for a release."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ambient_mri.errors import InputError

Name = Literal["quick", "standard", "full"]


@dataclass(frozen=True)
class Level:
    """Sizes of one audit.

    Parameters
    ----------
    samples, sampler_steps
        Samples drawn from a bundle, and noise levels of each (2 · steps - 1 network evaluations). Of pictures that
        are given, at most ten times `samples` are read.
    slices
        At most so many slices of the training, and of each part of the hold-out; None: all.
    embedder_steps
        Updates of the embedder, 96 slices each.
    noise_levels
        σ at which withheld measurements are predicted.
    membership_patients, draws
        Patients of each side, and draws of the hidden part for each slice.
    copies
        Training slices that copies are planted of.
    control_steps
        Training steps of the generator that is overfitted as a control; 0: none is.
    """

    samples: int
    sampler_steps: int
    slices: int | None
    embedder_steps: int
    noise_levels: tuple[float, ...]
    membership_patients: int
    draws: int
    copies: int
    control_steps: int


ALL_NOISE_LEVELS = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 40.0, 80.0)
LEVELS: dict[Name, Level] = {
    "quick": Level(192, 9, 200, 200, (0.05, 0.5), 100, 2, 48, 0),
    "standard": Level(2_000, 9, 5_000, 1_000, (0.02, 0.1, 0.3, 1.0, 5.0), 200, 2, 200, 1_000),
    "full": Level(30_000, 18, None, 4_000, ALL_NOISE_LEVELS, 10_000, 4, 500, 1_000),
}


def level_of(name: str) -> tuple[Name, Level]:
    """The level of a name.

    Raises
    ------
    InputError
        If there is none.
    """
    for known, level in LEVELS.items():
        if name == known:
            return known, level
    raise InputError(f"no level is called {name!r}", where="--level", remedy=f"Choose one of {', '.join(LEVELS)}")

"""Copies of training slices, made on purpose: what would this audit have found?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Generator, Tensor

from ambient_mri.audit.augmentation import BLENDS, EXACT, MILD, blended
from ambient_mri.audit.results import Dose
from ambient_mri.audit.search import Features, nearest

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Planted:
    """Copies of `sources` (rows of the training side), by kind of change: pictures `(n, 1, y, x)`."""

    sources: npt.NDArray[np.int64]
    copies: dict[str, Tensor]


def plant(pictures: Tensor, others: Tensor, count: int, rng: Generator) -> Planted:
    """Copy `count` random slices in every way; partial copies share the picture with a slice of `others`."""
    sources = torch.randperm(len(pictures), generator=rng)[:count]
    chosen = pictures[sources]
    copies = {name: change(chosen, rng) for name, change in (EXACT | MILD).items()}
    beside = others[torch.randint(len(others), (len(sources),), generator=rng)]
    copies |= {f"{share:.0%} blended": blended(share)(chosen, beside) for share in BLENDS}
    return Planted(sources.numpy(), copies)


def dose_response(
    planted: Planted, embed: Callable[[Tensor], Features], base: Features, patients: Sequence[str], bar: float
) -> list[Dose]:
    """For every kind of change, how many copies are recognised, and how many stand out.

    Parameters
    ----------
    base, patients
        Features of the training slices, and whose they are.
    bar
        The largest score of any hold-out patient: a copy stands out when it is nearer to its patient than that.
    """
    who = np.asarray(patients)
    doses = []
    for name, copies in planted.copies.items():
        found = nearest(embed(copies), base, 1)
        right = who[found.index[:, 0]] == who[planted.sources]
        stands = right & (found.similarity[:, 0] > bar)
        doses.append(Dose(change=name, copies=len(copies), recognised=float(right.mean()),
                          stands_out=float(stands.mean())))  # fmt: skip
    return doses


def recall(doses: Sequence[Dose]) -> tuple[int, int]:
    """(recognised, copies) of exact and mildly changed copies."""
    mild = [dose for dose in doses if dose.change in EXACT or dose.change in MILD]
    return round(sum(dose.recognised * dose.copies for dose in mild)), sum(dose.copies for dose in mild)


def standing_out(doses: Sequence[Dose]) -> float:
    """Share of exact and mildly changed copies that stand out."""
    mild = [dose for dose in doses if dose.change in EXACT or dose.change in MILD]
    return sum(dose.stands_out * dose.copies for dose in mild) / max(sum(dose.copies for dose in mild), 1)

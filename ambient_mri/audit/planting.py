"""Copies of training slices, made on purpose: what would this audit have found?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Generator, Tensor

from ambient_mri.audit.augmentation import BLENDS, EXACT, MILD, Change, blended
from ambient_mri.audit.results import Dose
from ambient_mri.audit.search import Features, nearest

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Copies:
    """Which rows of the training side were copied in one way, and their pictures `(n, 1, y, x)`."""

    sources: npt.NDArray[np.int64]
    pictures: Tensor


def plant(pictures: Tensor, others: Tensor, count: int, rng: Generator) -> dict[str, Copies]:
    """Copy `count` slices in every way, drawn anew for each; partial copies share the picture with one of `others`.

    The same slices in every way would be missed together, and the recall of a few would pass for one of many.
    """

    def partial(share: float) -> Change:
        def change(images: Tensor, rng: Generator) -> Tensor:
            return blended(share)(images, others[torch.randint(len(others), (len(images),), generator=rng)])

        return change

    planted = {}
    for name, change in (EXACT | MILD | {f"{share:.0%} blended": partial(share) for share in BLENDS}).items():
        sources = torch.randperm(len(pictures), generator=rng)[:count]
        planted[name] = Copies(sources.numpy(), change(pictures[sources], rng))
    return planted


def dose_response(
    planted: dict[str, Copies], embed: Callable[[Tensor], Features], base: Features, patients: Sequence[str], bar: float
) -> list[Dose]:
    """For every kind of change, how many copies are recognised, and how many stand out.

    Parameters
    ----------
    embed
        Is asked once, for all copies, so that each of them may be seen through another mask.
    base, patients
        Features of the training slices, and whose they are.
    bar
        The largest score of any hold-out patient: a copy stands out when it is nearer to its patient than that.
    """
    who = np.asarray(patients)
    found = nearest(embed(torch.cat([copies.pictures for copies in planted.values()])), base, 1)
    right = who[found.index[:, 0]] == who[np.concatenate([copies.sources for copies in planted.values()])]
    stands = right & (found.similarity[:, 0] > bar)
    doses, first = [], 0
    for name, copies in planted.items():
        part = slice(first, first + len(copies.sources))
        doses.append(Dose(change=name, copies=len(copies.sources), recognised=float(right[part].mean()),
                          stands_out=float(stands[part].mean())))  # fmt: skip
        first = part.stop
    return doses


def recall(doses: Sequence[Dose]) -> tuple[int, int]:
    """(recognised, copies) of exact and mildly changed copies."""
    mild = [dose for dose in doses if dose.change in EXACT or dose.change in MILD]
    return round(sum(dose.recognised * dose.copies for dose in mild)), sum(dose.copies for dose in mild)


def standing_out(doses: Sequence[Dose]) -> float:
    """Share of exact and mildly changed copies that stand out."""
    mild = [dose for dose in doses if dose.change in EXACT or dose.change in MILD]
    return sum(dose.stands_out * dose.copies for dose in mild) / max(sum(dose.copies for dose in mild), 1)

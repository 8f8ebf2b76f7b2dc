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
from ambient_mri.audit.scoring import Closest


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


@dataclass(frozen=True)
class Route:
    """One way to recognise a copy.

    Parameters
    ----------
    closest
        Of pictures, the most similar training slices. It is asked once for all copies, so that each of them may be
        seen through another mask.
    bar
        The largest score of any hold-out patient: a copy stands out when it is nearer to its patient than that.
    """

    closest: Callable[[Tensor], Closest]
    bar: float


def dose_response(planted: dict[str, Copies], features: Route, measured: Route, patients: Sequence[str]) -> list[Dose]:
    """For every kind of change, how many copies are recognised, and how many stand out.

    Parameters
    ----------
    features, measured
        What T1 and T3 see: features know a copy that was turned or moved, measured space one that is mixed with other
        content.
    patients
        Whose each training slice is.
    """
    who = np.asarray(patients)
    pictures = torch.cat([copies.pictures for copies in planted.values()])
    whose = who[np.concatenate([copies.sources for copies in planted.values()])]
    right, stands = [], []
    for route in (features, measured):
        found = route.closest(pictures)
        right.append(who[found.index] == whose)
        stands.append(right[-1] & (found.similarity > route.bar))
    doses, first = [], 0
    for change, copies in planted.items():
        part = slice(first, first + len(copies.sources))
        doses.append(Dose(
            change=change, copies=len(copies.sources), recognised=float((right[0] | right[1])[part].mean()),
            stands_out=float((stands[0] | stands[1])[part].mean()), in_features=float(stands[0][part].mean()),
            in_measured_space=float(stands[1][part].mean()),
        ))  # fmt: skip
        first = part.stop
    return doses


def recall(doses: Sequence[Dose]) -> tuple[int, int]:
    """(recognised, copies) of exact and mildly changed copies."""
    mild = [dose for dose in doses if dose.change in EXACT or dose.change in MILD]
    return round(sum(dose.recognised * dose.copies for dose in mild)), sum(dose.copies for dose in mild)


def standing_out(doses: Sequence[Dose]) -> float:
    """Share of exact and mildly changed copies that stand out in the better one of T1 and T3.

    A test becomes significant by the copies that it sees itself, so the two are not added up.
    """
    mild = [dose for dose in doses if dose.change in EXACT or dose.change in MILD]
    copies = max(sum(dose.copies for dose in mild), 1)
    shares = ([dose.in_features for dose in mild], [dose.in_measured_space for dose in mild])
    return max(sum(share * dose.copies for share, dose in zip(one, mild, strict=True)) / copies for one in shares)

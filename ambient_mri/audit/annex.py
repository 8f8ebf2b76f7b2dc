"""The restricted part of an audit: pictures of patients, and who is behind a pseudonym."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ambient_mri.audit.cohort import Side, pseudonym
from ambient_mri.audit.scoring import Closest, PairScan
from ambient_mri.audit.similarity import exact_copy_p_value

Picture = npt.NDArray[np.float32]
CASES = 24


@dataclass(frozen=True)
class Case:
    """A sample beside the training scan that it resembles most.

    Parameters
    ----------
    why
        Which test put them side by side.
    pseudonym, scan_id
        The training patient, and the scan: `<scan>/<slice>`.
    similarity
        By that test.
    noise_p_value
        Whether noise alone explains the difference between the sample and what was measured, see
        `similarity.exact_copy_p_value`.
    sample, training, holdout
        Magnitude `(y, x)` as the test saw them; the hold-out slice is the one nearest to the sample.
    """

    why: str
    pseudonym: str
    scan_id: str
    similarity: float
    noise_p_value: float
    sample: Picture
    training: Picture
    holdout: Picture


@dataclass(frozen=True)
class Annex:
    """Cases, and (pseudonym, scan) of every training scan of a patient who is named or pictured."""

    cases: tuple[Case, ...]
    key: tuple[tuple[str, str], ...]


def annex_of(
    sides: tuple[Side, Side], pictures: Tensor, images: Tensor, closest: tuple[Closest, Closest],
    pairs: PairScan, named: Sequence[str], salt: str,
) -> Annex:  # fmt: skip
    """The most alike pairs of T1, T2 and T3, those of named patients first.

    Parameters
    ----------
    pictures, images
        Samples as the embedder saw them, and as they are.
    closest
        Of training slices, by T1 and by T3.
    pairs
        T2.
    """
    train, other = sides
    wanted: dict[tuple[int, int], tuple[str, float]] = {}
    for why, found in (("T1", closest[0]), ("T3", closest[1])):
        order = np.argsort(-found.similarity, kind="stable")
        known = [row for row in order if train.patients[row] in set(named)]
        for row in [*known, *order[:CASES]][: CASES // 2 + len(known)]:
            wanted.setdefault((int(found.index[row]), int(row)), (why, float(found.similarity[row])))
    for sample, row, ratio in pairs.flagged[: CASES // 2]:
        wanted.setdefault((sample, row), (f"T2, d₁/d₂ = {ratio:.2f}", float("nan")))
    cases = tuple(
        Case(
            why, pseudonym(train.patients[row], salt), train.ids[row], similarity,
            _explained_by_noise(train, row, images[sample]), _array(pictures[sample]), _array(train.pictures[row]),
            _array(other.pictures[int(pairs.beside[sample])]),
        )
        for (sample, row), (why, similarity) in wanted.items()
    )  # fmt: skip
    shown = {case.pseudonym for case in cases} | {pseudonym(name, salt) for name in named}
    key = {(pseudonym(patient, salt), scan) for patient, scan in zip(train.patients, train.ids, strict=True)}
    return Annex(cases, tuple(sorted(entry for entry in key if entry[0] in shown)))


def _explained_by_noise(train: Side, row: int, image: Tensor) -> float:
    """With the best complex scale of the sample, which costs one of m."""
    scan = train.scans[row].without_unmeasured()
    seen = scan.operator().forward(image[None])
    scale = torch.sum(seen.conj() * scan.y) / seen.abs().square().sum().clamp_min(1e-20)
    residual = float((scan.y - scale * seen).abs().square().sum())
    return exact_copy_p_value(residual, float(scan.noise_std[0]), int(scan.samples) - 1)


def _array(picture: Tensor) -> Picture:
    return np.asarray(picture[0].numpy(), np.float32)

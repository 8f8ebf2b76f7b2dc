"""T5 and T6: two models of disjoint halves. What both find easy is the patient, what one does is its training.

No patient is left out of training for it, and no model of others is needed: each model is the other's reference. As a
coin decided who is in which half, guesses of the halves also bound the privacy that was lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from ambient_mri.audit.canaries import epsilon_lower_bound
from ambient_mri.audit.cohort import equal_rows, only, open_side
from ambient_mri.audit.exchangeability import common_count
from ambient_mri.audit.generator import draw
from ambient_mri.audit.levels import level_of
from ambient_mri.audit.material import Progress
from ambient_mri.audit.membership import Membership, membership
from ambient_mri.audit.recovery import patient_errors
from ambient_mri.audit.similarity import Whitening
from ambient_mri.data.dataset import open_scans
from ambient_mri.data.spec import load_spec
from ambient_mri.errors import InputError
from ambient_mri.prior.bundle import load_bundle, weights_sha256
from ambient_mri.prior.checkpoint import settle

Array = npt.NDArray[np.float64]
AGREEMENT_SAMPLES = 64


@dataclass(frozen=True)
class Halves:
    """The answer of T5.

    Parameters
    ----------
    membership
        Of the differences between the two models' log errors: `gap` is by how much the models together recover
        patients of their own half better than those of the other.
    patients
        Of each half.
    right
        Patients whose half is guessed from the two models' errors.
    epsilon
        T6: 95 % lower bound of ε of one training, if it were ε-differentially private. To move a patient to the other
        half is to take it from one training and add it to another, so that both together are 2ε-private.
    agreement, by_chance
        Mean correlation of the two models' samples from the same noise, and of samples from different noise. Models
        that learned the distribution agree; models that learned their patients do not (Kadkhodaie et al. 2024).
    levels
        σ at which withheld measurements were predicted.
    """

    membership: Membership
    patients: tuple[int, int]
    right: int
    epsilon: float
    agreement: float
    by_chance: float
    levels: tuple[float, ...]


def disjoint_halves(
    first: Array, second: Array, in_first: npt.NDArray[np.bool_], rng: np.random.Generator
) -> Membership:
    """Do two models recover the patients of their own half better?

    A patient's score is the first model's log error less the second's. If training taught neither model anything about
    single patients, and halves were dealt at random, scores of the two halves are exchangeable: the permutation test is
    exact. The difference takes off what makes a patient hard for both.

    Parameters
    ----------
    first, second
        Log errors `(patients, levels)` of the two models, under the same draws.
    in_first
        Which patients the first model learned from; the second learned from the others.
    """
    score = first - second
    return membership(score[in_first], score[~in_first], rng)


def guessed_halves(first: Array, second: Array, in_first: npt.NDArray[np.bool_]) -> int:
    """How many patients are in the half that the errors say: the first where the first model's are lower than usual."""
    score = (first - second).mean(1)
    return int(((score < np.median(score)) == in_first).sum())


@dataclass(frozen=True)
class HalvesOptions:
    """One comparison of two bundles that learned from the halves that two specs name.

    Parameters
    ----------
    out
        Folder of samples and errors, so that the same comparison resumes.
    level
        Of the audit: "quick", "standard" or "full".
    """

    bundles: tuple[Path, Path]
    data: tuple[str, str]
    out: Path
    level: str = "quick"
    seed: int = 0
    device: str = "cpu"


def audit_halves(options: HalvesOptions, progress: Progress = lambda line: None) -> Halves:
    """T5 from two bundles.

    Raises
    ------
    InputError
        If the specs share training patients, bundles or data cannot be used, or `options.out` holds another comparison.
    """
    level = level_of(options.level)[1]
    specs = tuple(load_spec(data) for data in options.data)
    settle(options.out, {
        "level": options.level, "seed": options.seed, "data_sha256": [spec.sha256 for spec in specs],
        "weights_sha256": [weights_sha256(path) for path in options.bundles],
    })  # fmt: skip
    models = tuple(load_bundle(path, options.device) for path in options.bundles)
    sides = [open_side(spec, ("train",), "measured", level.slices, progress) for spec in specs]
    shared = set(sides[0].patients) & set(sides[1].patients)
    if shared:
        raise InputError(f"{len(shared)} patients are in both halves", where=" and ".join(options.data),
                         remedy="Give two specs that differ in split.half")  # fmt: skip
    slices = common_count((*sides[0].patients, *sides[1].patients))
    rows = [equal_rows(side, slices, level.membership_patients) for side in sides]
    chosen = [only(side, own) for side, own in zip(sides, rows, strict=True)]
    whitening = Whitening.of(batch for side in sides for batch in side.batches())
    law = open_scans(specs[0], "train").further()

    first, second = (
        patient_errors(options.out / f"errors-{number}.npy", model, chosen, law, whitening, level, seed=options.seed,
                       device=options.device, progress=progress)
        for number, model in enumerate(models, 1)
    )  # fmt: skip

    counts = tuple(len(set(side.patients)) for side in chosen)
    in_first = np.arange(sum(counts)) < counts[0]
    rng = np.random.default_rng([options.seed, 5])
    answer = disjoint_halves(first, second, in_first, rng)
    right = guessed_halves(first, second, in_first)
    epsilon = epsilon_lower_bound(right, len(in_first)) / 2
    samples = [
        draw(model, AGREEMENT_SAMPLES, options.out / f"samples-{number}", steps=level.sampler_steps, seed=options.seed,
             progress=progress)
        for number, model in enumerate(models, 1)
    ]  # fmt: skip
    agreement, by_chance = sample_agreement(*samples)
    return Halves(answer, (counts[0], counts[1]), right, epsilon, agreement, by_chance, level.noise_levels)


def sample_agreement(first: Tensor, second: Tensor) -> tuple[float, float]:
    """Mean correlation of samples from the same noise, and of those from different noise, without the mean image.

    Parameters
    ----------
    first, second
        `(n, 1, y, x)` of two models; row i of both began at the same noise, under the same mask.
    """
    rows = [images.abs().flatten(1).double() for images in (first, second)]
    mean = torch.cat(rows).mean(0)
    unit = [nn.functional.normalize(images - mean, dim=1) for images in rows]
    correlation = unit[0] @ unit[1].T
    same = correlation.diagonal().mean()
    n = len(correlation)
    return float(same), float((correlation.sum() - correlation.trace()) / (n * (n - 1)))

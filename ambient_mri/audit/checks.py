"""The gates of an audit, filled from its material: planted copies, controls, placebo."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ambient_mri.audit import embedder, gates, generator, planting, power, scoring
from ambient_mri.audit.augmentation import noisy, rotated
from ambient_mri.audit.cohort import equal_rows, only
from ambient_mri.audit.material import Material
from ambient_mri.audit.measured_space import MeasuredSpace
from ambient_mri.audit.membership import by_patient
from ambient_mri.audit.results import Dose, GateResult
from ambient_mri.audit.search import Features
from ambient_mri.randomness import stream

Array = npt.NDArray[np.float64]


def planted_copies(state: Material, space: MeasuredSpace, bars: tuple[float, float]) -> list[Dose]:
    """What becomes of copies of training slices, of every kind.

    Parameters
    ----------
    bars
        The highest score of a hold-out patient by T1, and by T3.
    """
    rng = stream(state.options.seed, "planted")
    planted = planting.plant(state.train.pictures, state.hold.pictures, state.level.copies, rng)

    def by_features(copies: Tensor) -> scoring.Closest:
        features = embedder.embed(state.network, state.see(generator.normalised(copies.to(torch.complex64)), "planted"))
        return scoring.closest_by_features(features, state.features[0])

    def in_measured_space(copies: Tensor) -> scoring.Closest:
        state.progress(f"comparing {len(copies)} planted copies in measured space")
        return space.closest_scans(state.train, generator.normalised(copies.to(torch.complex64)))

    routes = (planting.Route(by_features, bars[0]), planting.Route(in_measured_space, bars[1]))
    return planting.dose_response(planted, *routes, state.train.patients)


def checks_of(state: Material, limits: power.Sensitivity, doses: list[Dose]) -> list[GateResult]:
    """All gates."""
    train, hold, _ = state.features
    rows = [equal_rows(side, state.slices) for side in state.sides]
    of_train, of_hold = (features[own] for features, own in zip((train, hold), rows, strict=True))
    between = (between_patients(of_train, of_hold, state.slices), between_patients(of_hold, of_hold, state.slices))
    return [
        gates.told_apart(
            by_patient(train, state.train.patients), by_patient(hold, state.hold.patients), state.rng("told apart")
        ),
        gates.placebo(_placebo(state)),
        gates.posing(*between, state.rng("posing")),
        gates.planted(*planting.recall(doses)),
        _positive_control(state, limits),
    ]  # fmt: skip


def _placebo(state: Material, splits: int = 4) -> list[float]:
    """p of T3 between halves of the hold-out patients, everything that it needs worked out from them anew."""
    hold, rng = state.hold, state.rng("placebo")
    names, p_values = list(dict.fromkeys(hold.patients)), []
    state.progress(f"comparing hold-out patients with each other in measured space, {splits} times")
    for _ in range(splits):
        actors = set(rng.permutation(names)[: len(names) // 2].tolist())
        acting = [patient in actors for patient in hold.patients]
        halves = (only(hold, [row for row, acts in enumerate(acting) if acts]),
                  only(hold, [row for row, acts in enumerate(acting) if not acts]))  # fmt: skip
        measured = MeasuredSpace.of(*halves).closest_to_sides(halves, state.images)
        scores = scoring.score_patients(measured, halves, state.slices, state.options.seed)
        p_values.append(scores.compared().p_value)
    return p_values


def between_patients(rows: Features, columns: Features, slices: int) -> Array:
    """Largest similarity between two patients who have `slices` consecutive rows each, `(patients, patients)`."""
    largest = [(rows[i : i + slices] @ columns.T).max(0) for i in range(0, len(rows), slices)]
    return np.asarray(np.stack(largest).reshape(len(largest), -1, slices).max(2), np.float64)


def _positive_control(state: Material, limits: power.Sensitivity) -> GateResult:
    """T1 on the samples after copies of a few training patients, lightly turned and noisy, were hidden among them."""
    names = list(dict.fromkeys(state.train.patients))
    copied = min(2 * (limits.least_patients or len(names)), len(names))
    rng = stream(state.options.seed, "positive control")
    chosen = {names[i] for i in torch.randperm(len(names), generator=rng)[:copied].tolist()}
    rows = [i for i, patient in enumerate(state.train.patients) if patient in chosen]
    changed = noisy(rotated(state.train.pictures[rows], rng), rng)
    seen = state.see(generator.normalised(changed.to(torch.complex64)), "positive control")
    copies = embedder.embed(state.network, seen)
    among = np.concatenate([state.features[2], copies])
    train, hold, _ = state.features
    scores = scoring.score_patients(
        scoring.sides_by_features(train, hold, among), state.sides, state.slices, state.options.seed
    )
    return gates.positive_control(scores.compared().p_value, copied)

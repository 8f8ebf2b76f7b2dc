"""On real brains: partial copies from k-space alone, patients who were admitted twice, planted copies."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ambient_mri.audit import embedder
from ambient_mri.audit.augmentation import blended
from ambient_mri.audit.cohort import open_side
from ambient_mri.audit.duplicates import anatomy, near_duplicates
from ambient_mri.audit.generator import normalised
from ambient_mri.audit.measured_space import MeasuredSpace
from ambient_mri.audit.planting import Route, dose_response, plant
from ambient_mri.audit.scoring import Closest, closest_by_features
from ambient_mri.audit.similarity import Whitening, measured_similarity
from ambient_mri.data.dataset import open_evaluation
from ambient_mri.data.readers import SliceRecord
from ambient_mri.data.slices import magnitude_image
from ambient_mri.data.spec import DataSpec, load_spec
from ambient_mri.data.split import parts
from ambient_mri.measurement import Measurement, collate
from ambient_mri.patterns import RandomLines
from ambient_mri.randomness import stream


@pytest.fixture(scope="module")
def spec(real_data: Path) -> DataSpec:
    os.environ.setdefault("AMBIENT_MRI_DATA", str(real_data))
    return load_spec("brain_bids")


def _images(spec: DataSpec, records: tuple[SliceRecord, ...]) -> Tensor:
    return torch.stack([magnitude_image(spec, record)[0] for record in records])[:, None]


@pytest.mark.slow
@pytest.mark.parametrize("acceleration", [4, 8])
def test_partial_copies_are_found_from_kspace_alone(spec: DataSpec, acceleration: float) -> None:
    """One coil; 60 generated images, each 70 % (or 40 %) of a training slice and the rest of an unseen one."""
    one_coil = spec.model_copy(update={"acquisition": spec.acquisition.model_copy(update={"coils": 1})})

    def scans(part: str, count: int) -> tuple[Measurement, Tensor]:
        found = open_evaluation(one_coil, part, pattern=RandomLines(acceleration, 0.08), limit=count)
        made = [found[i] for i in range(count)]
        return collate([scan for scan, _ in made]), torch.cat([truth.real for _, truth in made]).to(torch.complex64)

    train, copied = scans("train", 60)
    hold, known = scans("test", 100)
    _, unseen = scans("validation", 60)
    mean = known.mean(0, keepdim=True)

    def rate(share: float, weight: Whitening, centre: bool) -> float:
        def less(batch: Measurement) -> Measurement:
            seen = batch.operator().forward(mean.expand(len(batch), -1, -1, -1))
            return replace(batch, y=batch.without_unmeasured().y - (seen if centre else 0))

        samples = blended(share)(copied, unseen) - (mean if centre else 0)
        bar = np.quantile(measured_similarity(less(hold), samples, weight), 0.99)
        return float((np.diag(measured_similarity(less(train), samples, weight)) > bar).mean())

    white, raw = Whitening.of([hold]), Whitening.none((64, 64))
    assert rate(0.7, white, True) >= 0.95
    assert rate(0.4, white, False) > rate(0.4, raw, False) + 0.3
    assert rate(0.25, white, True) >= rate(0.25, white, False)


@pytest.mark.slow
def test_patients_admitted_twice_are_suspected(spec: DataSpec) -> None:
    """If a split ignored `patient_group`, most pairs would be reported, and hardly anybody else."""
    records = tuple(record for part in parts(spec).values() for record in part)
    found = near_duplicates(anatomy(_images(spec, records)), [record.volume_id for record in records])
    right = [records[pair.first].patient == records[pair.second].patient for pair in found]
    assert sum(right) >= 25  # of 43 pairs of scans
    assert np.mean(right) >= 0.9


@pytest.mark.slow
def test_planted_copies_are_recognised_among_real_brains(spec: DataSpec) -> None:
    """From R = 4 k-space alone: features know what was turned or moved, measured space what was mixed."""
    train, hold = (open_side(spec, (part,), "measured", count) for part, count in (("train", 120), ("test", 60)))
    network = embedder.train(torch.cat([train.pictures, hold.pictures])[None], embedder.Training(steps=40, seed=0))
    base, space = embedder.embed(network, train.pictures), MeasuredSpace.of(train, hold)

    def by_features(copies: Tensor) -> Closest:
        return closest_by_features(embedder.embed(network, copies), base)

    def in_measured_space(copies: Tensor) -> Closest:
        return space.closest_scans(train, normalised(copies.to(torch.complex64)))

    planted = plant(train.pictures, hold.pictures, 60, stream(0, "test"))
    doses = dose_response(planted, Route(by_features, 0.0), Route(in_measured_space, 0.0), train.patients)
    recognised = {dose.change: dose.recognised for dose in doses}
    mixed = [f"{share:.0%} blended" for share in (0.8, 0.7, 0.6)]
    assert min(recognised[kind] for kind in ("exact", "flipped", "gamma", "blurred", "noisy", *mixed)) >= 0.95
    assert np.mean([recognised[kind] for kind in ("rotated ±10°", "shifted")]) >= 0.7

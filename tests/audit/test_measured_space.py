"""Scans beside images in measured space: the same as one large table, whatever the blocks."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ambient_mri.audit import measured_space
from ambient_mri.audit.cohort import only, open_side
from ambient_mri.audit.generator import normalised
from ambient_mri.audit.measured_space import MeasuredSpace
from ambient_mri.data.spec import load_spec


@pytest.mark.parametrize("block", [2048, 6])
def test_blocks_change_nothing_and_both_directions_are_of_one_table(
    block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measured_space, "IMAGES", block)
    spec = load_spec("brain_demo")
    train, hold = (open_side(spec, (part,), "measured", 18) for part in ("train", "test"))
    space = MeasuredSpace.of(train, hold)
    images = normalised(torch.cat([train.pictures[3:8], hold.pictures[:3].flip(-1)]).to(torch.complex64))
    by_scan, by_image = space.closest_images(train, images), space.closest_scans(train, images)
    assert by_image.index[:5].tolist() == [3, 4, 5, 6, 7]  # copies of training scans
    assert by_scan.index[3:8].tolist() == [0, 1, 2, 3, 4]
    assert by_scan.similarity[3:8] == pytest.approx(by_image.similarity[:5], abs=1e-5)
    assert by_image.similarity[:5].min() > by_image.similarity[5:].max()
    mirrored = space.closest_images(hold, images)
    assert mirrored.index[:3].tolist() == [5, 6, 7]  # the mirror image of a scan is known too
    assert by_scan.similarity.max() == pytest.approx(by_image.similarity.max(), abs=1e-6)
    assert np.all(by_image.similarity <= 1)


def test_neither_side_is_nearer_to_images_of_others() -> None:
    """T3 of an innocent generator: training scans stand out no more than hold-out scans, however few these are.

    With a mean of the hold-out alone, of which each hold-out scan is a tenth, they would: AUC .65.
    """
    spec = load_spec("brain_demo")
    pool = open_side(spec, ("train",), "measured", 110)
    images, scans = normalised(pool.pictures[:40].to(torch.complex64)), list(range(40, len(pool)))
    areas = []
    for trial in range(8):
        order = np.random.default_rng(trial).permutation(scans).tolist()
        train, hold = only(pool, order[:50]), only(pool, order[50:60])
        space = MeasuredSpace.of(train, hold)
        near, far = (space.closest_images(side, images).similarity for side in (train, hold))
        areas.append(float((near[:, None] > far).mean()))
    assert np.mean(areas) == pytest.approx(0.5, abs=0.08)

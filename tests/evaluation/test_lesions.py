"""Small lesions: known disks are seen for what they are, places are tissue, and only the lesion differs."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from scipy.stats import mannwhitneyu, norm
from torch import Tensor

from ambient_mri.data.dataset import open_evaluation
from ambient_mri.data.spec import load_spec
from ambient_mri.errors import InputError
from ambient_mri.evaluation.lesion_study import Told, evaluate_lesions, found, told_apart
from ambient_mri.evaluation.lesions import RING, Lesion, added, brightness, place, with_lesions
from ambient_mri.randomness import stream

SHAPE = (56, 64)


def head() -> Tensor:
    """A disk of tissue with a dark hole in a dark field."""
    y, x = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in SHAPE), indexing="ij")
    image = (torch.hypot(y - 28, x - 32) < 24).float()
    return image * (1 - 0.9 * (torch.hypot(y - 28, x - 32) < 4).float())


@pytest.mark.parametrize("diameter", [2, 3, 4.5, 6])
@pytest.mark.parametrize("amplitude", [0.3, -0.2])
def test_a_lesion_is_seen_whole_and_a_level_is_not(diameter: float, amplitude: float) -> None:
    lesion = Lesion.around((20, 15), diameter, SHAPE, amplitude)
    alone = added([lesion])[0, 0]
    assert lesion.seen(alone) == pytest.approx(1, abs=1e-5)
    assert lesion.seen(torch.full(SHAPE, 3.0)) == pytest.approx(0, abs=1e-4)
    assert lesion.seen(2 + 0.5 * alone) == pytest.approx(0.5, abs=1e-4)
    assert float(alone.sum()) == pytest.approx(amplitude * torch.pi * diameter**2 / 4, rel=0.2), "its area"


def test_places_are_in_the_tissue_as_far_as_the_ring_and_all_over_it() -> None:
    image = head()
    assert brightness(image) == 1
    rng = stream(0, "test")
    places = {place(image, 4, rng) for _ in range(200)}
    assert None not in places
    assert len(places) > 50
    for centre in places:
        assert centre is not None
        assert bool((image[Lesion.around(centre, 4 + 2 * RING, SHAPE).disk > 0.5] == 1).all())
    assert place(image, 30, rng) is None, "wider than the tissue"


def test_only_the_lesion_differs() -> None:
    """As if the changed image had been measured, with the noise that the scan has; unmeasured samples stay so."""
    scan, truth = open_evaluation(load_spec("brain_demo"), "test", limit=1)[0]
    lesion = Lesion.around((30, 30), 4, scan.image_shape, 0.3)
    changed, A = with_lesions(scan, truth, [lesion]), scan.operator()
    image = (truth.abs() + added([lesion])) * torch.sgn(truth)
    noise = scan.y - A.forward(truth)
    torch.testing.assert_close(changed.y, A.forward(image) + noise, atol=1e-5, rtol=1e-5)
    assert not bool(changed.y[~scan.mask.expand_as(changed.y)].any())


def test_the_area_is_that_of_mann_and_whitney_and_of_normal_observers() -> None:
    rng = torch.Generator().manual_seed(0)
    present, absent = torch.randn(400, generator=rng) + 1, torch.randn(400, generator=rng)
    patients = [str(k // 2) for k in range(400)]
    area = told_apart(present, absent, patients, rng)
    assert area.mean == pytest.approx(mannwhitneyu(present, absent).statistic / 400**2)
    assert area.low < norm.cdf(0.5**0.5) < area.high, "Φ(d'/√2)"
    assert area.high - area.low == pytest.approx(2 * 1.96 * 0.0166, rel=0.15), "Hanley and McNeil's standard error"
    assert told_apart(absent + 10, absent, patients, rng).mean == 1
    assert told_apart(absent, absent, patients, rng).mean == 0.5


def test_figures_of_a_method_are_of_its_lesions() -> None:
    told = [Told(str(k), 0.8 + 0.1 * k, 0.1 * k) for k in range(4)]
    row = found("tv", 4, 3, told, 0)
    assert row.recovered.mean == pytest.approx(0.8)
    assert row.false == pytest.approx((0.14 / 4) ** 0.5)
    assert (row.lesions, row.patients, row.auc.mean) == (4, 4, 1)


def test_full_sampling_recovers_and_aliasing_loses(tmp_path: Path) -> None:
    spec = load_spec("brain_demo")
    study = evaluate_lesions(None, spec, accelerations=(1, 8), methods=("zero-filled",), limit=6, tuning_slices=1)
    rows = {(row.acceleration, row.diameter): row for row in study.rows}
    assert all(rows[1, d].recovered.mean == pytest.approx(1, abs=0.05) for d in (3, 4, 6))
    assert all(rows[1, d].auc.mean == 1 for d in (3, 4, 6))
    assert all(rows[8, d].recovered.mean < 0.6 for d in (2, 3, 4))
    assert {example.diameter for example in study.examples} == {2, 3, 4, 6}


def test_acquired_scans_are_refused() -> None:
    with pytest.raises(InputError, match="lesions are put into images, and these scans were acquired"):
        evaluate_lesions(None, load_spec("brain_fastmri"), methods=("tv",))


@pytest.mark.parametrize("contrast", [0.0, float("nan")])
def test_a_lesion_that_is_none_is_refused(contrast: float) -> None:
    with pytest.raises(InputError, match=r"--contrast: a lesion of contrast (0|nan) cannot be seen\. Give a share"):
        evaluate_lesions(None, load_spec("brain_demo"), methods=("tv",), contrast=contrast)

"""Through which masks samples of the prior are drawn."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from ambient_mri.cli import main
from ambient_mri.corruption import Corruption
from ambient_mri.prior.bundle import CARD, load_bundle, load_card
from ambient_mri.prior.card import REFINED
from ambient_mri.prior.shipped import located
from ambient_mri.sampling import prior_samples
from ambient_mri.sampling.prior_samples import MASKED_STEPS, STOCHASTIC_BELOW, WHOLE_STEPS, draw_given, draw_samples
from tests.laws.expectation import generators

DRAWS = 48


def test_samples_are_drawn_through_the_masks_of_scans() -> None:
    """What the mask hides collapses to its mean: one thinned as in training hides more for nothing."""
    card = load_card(located("brain_flair_64"))
    given = draw_given(card, generators(0, DRAWS))
    scans = Corruption(card.pattern()).draw(given.encoding, card.image_shape, generators(1, DRAWS))
    shown, measured = (masked.mask.sum((1, 2, 3)).float() for masked in (given, scans))
    assert abs(float(shown.mean() / measured.mean()) - 1) < 0.03
    assert float(shown.min()) > 0.85 * float(shown.median())


def test_whole_images_are_drawn_in_fewer_steps_with_noise_in_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, float]] = []

    def heun(*_: Any, steps: int, stochastic_below: float, **__: Any) -> Tensor:
        asked.append((steps, stochastic_below))
        return Tensor()

    monkeypatch.setattr(prior_samples, "heun", heun)
    ambient = load_bundle(located("brain_flair_64"))
    for bundle in (ambient, replace(ambient, card=ambient.card.model_copy(update={"method": REFINED}))):
        draw_samples(bundle, generators(0, 2))
        draw_samples(bundle, generators(0, 2), 3)
    assert asked == [
        (MASKED_STEPS, STOCHASTIC_BELOW), (3, STOCHASTIC_BELOW), (WHOLE_STEPS, math.inf), (3, math.inf),
    ]  # fmt: skip


def test_a_model_of_one_noise_level_draws_nothing(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its answers at levels that it never met made pictures, and nothing said what they were."""
    bundle = Path(shutil.copytree(tiny_bundle, tmp_path / "bundle"))
    card = json.loads((bundle / CARD).read_text())
    (bundle / CARD).write_text(json.dumps(card | {"method": "ssdu"}))
    assert main(["sample", str(bundle), "-n", "1", "--out", str(tmp_path / "out")]) == 2
    assert "sample asks for all noise levels" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()

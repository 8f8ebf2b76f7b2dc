"""What differs between a scan and a model's training is said; what is alike is not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from ambient_mri.data.facts import AcquisitionFacts
from ambient_mri.patterns import EquispacedLines, RandomLines, RandomPoints
from ambient_mri.prior.card import Card
from ambient_mri.reconstruction.match import differences, equispaced


def _card(**changes: Any) -> Card:
    acquisition = AcquisitionFacts.model_validate(
        {
            "coils": 4,
            "noise_std": 0.02,
            "pattern": {"kind": "random_lines", "acceleration": 4, "calibration_fraction": 0.08},
            "further": {"keep": [0.25, 0.8]},
        }
    )
    facts: dict[str, Any] = {
        "version": "0", "data": "d", "title": "t", "data_sha256": "0", "licence": "l", "simulated": True,
        "acquisition": acquisition, "line_frequency": None, "image_shape": (64, 64), "coils": 4, "noise_std": 0.02,
        "slices": 1, "patients": 1, "preset": "tiny", "method": "ambient", "seed": 0, "steps": 1, "minutes": 1.0,
        "precision": "float32", "initialised_from": None, "identifiability": "", "consistency": 0.01,
        "withheld_nmse": (0.1, 0.1, 0.1),
    }  # fmt: skip
    return Card(**(facts | changes))


@dataclass
class _Measured:
    """As much of a `MeasuredVolume` as the comparison looks at."""

    mask: torch.Tensor
    matrix: tuple[int, int] = (64, 64)
    noise_std: float = 0.02
    scale: float = 1.0
    coils: int = 4
    acquired: torch.Tensor = field(default_factory=lambda: torch.ones(1, 1, dtype=torch.bool))


def _draw(pattern: Any, seed: int = 0, shape: tuple[int, int] = (64, 64)) -> torch.Tensor:
    mask: torch.Tensor = pattern.draw(shape, torch.Generator().manual_seed(seed))
    return mask


def _said(measured: _Measured, card: Card) -> str:
    return " | ".join(differences(measured, card))  # type: ignore[arg-type] # see _Measured


def test_nothing_is_said_of_scans_like_those_of_the_training() -> None:
    for seed in range(20):
        assert _said(_Measured(_draw(RandomLines(4.0), seed)), _card()) == ""


def test_padding_counts_on_both_sides() -> None:
    """Lines that nobody acquires lower the rate of the law as they lower that of the scan."""
    acquired = ((torch.arange(64) >= 8) & (torch.arange(64) < 56))[None]
    mask = torch.zeros(1, 64, dtype=torch.bool)
    mask[0, 8:56:4] = mask[0, 31] = True  # 13 lines of 48: R = 4.9 of the grid, as the law of R = 4 gives
    assert "R =" not in _said(_Measured(mask, acquired=acquired), _card())
    assert "R = 4.9, the model was trained on scans of R = 4" in _said(_Measured(mask), _card())
    assert "trained on scans of R = 4.9" in _said(
        _Measured(_draw(RandomLines(8.0)) & acquired, acquired=acquired), _card()
    )


@pytest.mark.parametrize(
    ("measured", "words"),
    [
        (_Measured(_draw(RandomLines(8.0))), "R = 8"),
        (_Measured(_draw(RandomLines(2.0))), "R = 2"),
        (_Measured(_draw(EquispacedLines(4.0))), "equally spaced"),
        (_Measured(_draw(RandomPoints(4.0))), "points were measured"),
        (_Measured(_draw(RandomLines(4.0), shape=(80, 72)), (80, 72)), "80 x 72"),
        (_Measured(_draw(RandomLines(4.0)), noise_std=0.2, scale=2.0), "noise is 0.100"),
        (_Measured(_draw(RandomLines(4.0)), noise_std=0.008), "noise is 0.008"),
        (_Measured(_draw(RandomLines(4.0)), coils=1), "one coil, the model was trained on 4 coils"),
    ],
)
def test_each_difference_is_named(measured: _Measured, words: str) -> None:
    assert words in _said(measured, _card())


def test_noise_too_low_to_matter_is_not_named() -> None:
    assert _said(_Measured(_draw(RandomLines(4.0)), noise_std=0.0), _card(noise_std=0.004)) == ""


def test_frequencies_of_files_state_the_acceleration() -> None:
    frequency = tuple([1.0] * 8 + [0.25] * 56)  # R = 64 / 22
    facts = AcquisitionFacts.model_validate(
        {"pattern": {"kind": "from_files"}, "sensitivity_maps": "espirit", "further": {"keep": [0.25, 0.8]}}
    )
    card = _card(line_frequency=frequency, acquisition=facts)
    assert _said(_Measured(_draw(RandomLines(64 / 22))), card) == ""
    assert "R = 8" in _said(_Measured(_draw(RandomLines(8.0))), card)


def test_equispaced_lines_are_recognised() -> None:
    assert all(equispaced(_draw(EquispacedLines(rate), seed)) for seed in range(12) for rate in (2.0, 3.0, 4.0))
    assert not any(equispaced(_draw(RandomLines(4.0), seed)) for seed in range(50))

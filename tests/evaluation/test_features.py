"""Scattering features: each octave and direction answers to the waves that it is made for."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ambient_mri.evaluation.features import GRID, ORIENTATIONS, scales, scattering

SIZE = 64


@pytest.mark.parametrize("octave", range(3))
@pytest.mark.parametrize("turn", range(ORIENTATIONS))
def test_a_wave_is_found_in_its_octave_and_direction(octave: int, turn: int) -> None:
    angle = math.pi * turn / ORIENTATIONS
    rows, columns = np.mgrid[:SIZE, :SIZE]
    phase = 0.75 * math.pi / 2**octave * (columns * math.cos(angle) + rows * math.sin(angle))
    first = scattering((1 + np.cos(phase)).astype("f4")[None])[
        0, GRID**2 : GRID**2 + scales((SIZE, SIZE)) * ORIENTATIONS
    ]
    assert int(first.argmax()) == octave * ORIENTATIONS + turn


def test_an_image_of_one_grey_has_no_texture() -> None:
    (features,) = scattering(np.full((1, SIZE, SIZE), 0.7, "f4"))
    assert features[: GRID**2] == pytest.approx(0.7, abs=1e-5)
    assert features[GRID**2 :] == pytest.approx(np.log(1e-3), abs=1e-2)

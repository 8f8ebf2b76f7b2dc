"""Brightness and layout of pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ambient_mri.pictures import BACKGROUND, GAP, enlarged, grey, sheet, write_png


def test_white_is_the_quantile_and_black_is_zero() -> None:
    ramp = np.arange(10001, dtype=np.float32) / 10000
    shown = grey(ramp)
    assert (shown[0], shown[-1]) == (0, 255)
    assert abs(int(shown[4975]) - 128) <= 1  # half of the 99.5 % quantile
    assert not grey(np.zeros((4, 4), np.float32)).any()


def test_every_picture_has_its_place_on_a_sheet(tmp_path: Path) -> None:
    pictures = [np.full(shape, 100 + i, np.uint8) for i, shape in enumerate([(5, 3), (2, 7), (5, 7)])]
    canvas = np.asarray(Image.open(write_png(tmp_path / "new" / "a.png", sheet(pictures, columns=2))))
    assert canvas.shape == (2 * (5 + GAP) + GAP, 2 * (7 + GAP) + GAP)
    for i, picture in enumerate(pictures):
        rows, columns = (canvas == 100 + i).nonzero()
        assert len(rows) == picture.size
        assert (rows.min(), columns.min()) == (GAP + (i // 2) * (5 + GAP), GAP + (i % 2) * (7 + GAP))
    assert (canvas == BACKGROUND).sum() == canvas.size - sum(picture.size for picture in pictures)


def test_small_pictures_are_enlarged() -> None:
    assert enlarged(np.zeros((40, 64), np.uint8)).shape == (80, 128)
    assert enlarged(np.zeros((200, 64), np.uint8)).shape == (200, 64)

"""Which way up slices are shown, which of them, and in which grey: against arrays whose corners are known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from ambient_mri.reconstruction.export.display import View, shown_slices, write_stacks

# a volume whose voxel value tells its LPS coordinate: 0 at the (right, anterior, foot) corner
AXES = {"axial": (0, 1, 2), "coronal": (0, 2, 1), "sagittal": (1, 2, 0)}
EDGES = {"axial": "RLAP", "coronal": "RLHF", "sagittal": "APHF"}


def _affine(column: int, row: int, signs: tuple[int, int]) -> np.ndarray:
    affine = np.zeros((4, 4))
    affine[column, 0], affine[row, 1] = signs
    affine[3 - column - row, 2] = affine[3, 3] = 1
    return affine


@pytest.mark.parametrize("plane", AXES)
@pytest.mark.parametrize("signs", [(1, 1), (-1, 1), (1, -1), (-1, -1)])
@pytest.mark.parametrize("swapped", [False, True])
def test_every_storage_order_gives_the_radiological_view(plane: str, signs: tuple[int, int], swapped: bool) -> None:
    across, down, _ = AXES[plane]
    column, row = (down, across) if swapped else (across, down)
    affine = _affine(column, row, signs)
    y, x = np.mgrid[:5, :5]
    places = np.einsum("ij,jyx->iyx", affine[:3, :2], np.stack([x, y]).astype(float))  # LPS of each pixel
    view = View.of(affine)
    assert view.edges == EDGES[plane]
    shown = [view(places[axis][None].astype(np.float32))[0] for axis in range(3)]
    assert (np.diff(shown[across], axis=1) > 0).all(), "right (or anterior) is on the left of the picture"
    rising = np.diff(shown[down], axis=0)
    assert (rising < 0).all() if down == 2 else (rising > 0).all(), "head or anterior is above"


def test_oblique_slices_take_the_nearest_view_and_unknown_geometry_none() -> None:
    affine = _affine(0, 1, (1, 1))
    turn = np.eye(4)
    turn[1:3, 1:3] = [[np.cos(0.5), -np.sin(0.5)], [np.sin(0.5), np.cos(0.5)]]
    assert View.of(turn @ affine) == View.of(affine)
    unknown = View.of(None)
    stack = np.arange(6, dtype=np.float32).reshape(1, 2, 3)
    assert unknown.edges == ""
    assert np.array_equal(unknown(stack), stack)


@pytest.mark.parametrize("count", [1, 2, 19, 20, 21, 30, 150, 401])
def test_at_most_twenty_slices_evenly_spaced(count: int) -> None:
    shown = shown_slices(count)
    assert len(shown) == min(count, 20)
    assert sorted(set(shown)) == shown
    assert 0 <= shown[0] <= shown[-1] < count
    assert np.ptp(np.diff(shown)) <= 1 if len(shown) > 1 else True
    assert shown[0] == pytest.approx(count - 1 - shown[-1], abs=1)


def test_pictures_share_one_window_and_have_square_pixels(tmp_path: Path) -> None:
    image = np.zeros((3, 400, 100), np.float32)
    image[:, 100:300, 25:75] = 10
    stacks = {
        "input": (Path("gallery/a_input.png"), 0.5 * image),
        "image": (Path("gallery/a_image.png"), image),
        "deviation": (Path("gallery/a_deviation.png"), 0.02 * image),
    }
    facts = write_stacks(tmp_path, stacks, affine=None, voxel_mm=(2.0, 1.0, 3.0), count=3)
    width, height = facts["size"]
    assert height == 224
    assert width == 112, "100 columns of 2 mm beside 400 rows of 1 mm"
    pictures = {kind: np.asarray(Image.open(tmp_path / path)) for kind, path in facts["files"].items()}
    assert all(picture.shape == (3 * height, width) for picture in pictures.values())
    assert pictures["image"].max() == 255
    assert pictures["input"].max() == 128
    assert pictures["deviation"].max() == 255
    assert facts["deviation_white"] == pytest.approx(0.02)
    assert facts["edges"] == ""

"""Contact sheets show what was measured, and cannot show anything else."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ambient_mri.data.cohort import subject
from ambient_mri.data.contact_sheet import contact_sheet, views
from ambient_mri.data.simulation import Acquisition, simulate_scan
from ambient_mri.errors import InputError
from ambient_mri.measurement import Measurement
from ambient_mri.patterns import Pattern, Pixels, RandomLines, RandomPoints


def scans(pattern: Pattern, domain: str = "kspace", count: int = 5) -> list[Measurement]:
    acquisition = Acquisition(pattern, domain=domain, noise_std=0.02)
    return [simulate_scan(subject(i).images[0], acquisition, f"demo-{i}").measurement for i in range(count)]


@pytest.mark.parametrize("pattern", [RandomLines(4), RandomPoints(4, 0.1)])
def test_a_sheet_is_a_readable_picture(pattern: Pattern, tmp_path: Path) -> None:
    out = contact_sheet(scans(pattern), tmp_path / "new" / "sheet.png", count=5)
    with Image.open(out) as picture:
        pixels = np.asarray(picture)
    assert pixels.ndim == 2
    assert pixels.shape[1] > 4 * 3 * 100
    assert pixels.std() > 20
    assert [path.name for path in out.parent.iterdir()] == ["sheet.png"]


def test_nothing_unmeasured_changes_a_pixel(tmp_path: Path) -> None:
    clean = scans(RandomLines(4))
    poisoned = [replace(m, y=torch.where(m.mask, m.y, torch.full_like(m.y, float("nan")))) for m in clean]
    one = contact_sheet(clean, tmp_path / "a.png").read_bytes()
    assert one == contact_sheet(poisoned, tmp_path / "b.png").read_bytes()


def test_views_are_those_of_the_measurement() -> None:
    m = scans(RandomLines(4), count=1)[0]
    shown = views(m)
    assert set(shown) == {"zero-filled", "mask", "k-space"}
    assert torch.equal(shown["mask"][0] > 0, m.mask[0, 0, 0])
    assert not shown["k-space"][:, ~m.mask[0, 0, 0]].any()
    for view in shown.values():
        assert view.shape == (64, 64)
        assert 0 <= float(view.min()) <= float(view.max()) <= 1


def test_pixels_have_no_kspace_view() -> None:
    m = scans(Pixels(0.6), "image", 1)[0]
    shown = views(m)
    assert set(shown) == {"zero-filled", "mask"}
    assert not shown["zero-filled"][~m.mask[0, 0]].any()


def test_no_scan_and_no_place_to_write_are_said_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no scan"):
        contact_sheet([], tmp_path / "a.png")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        contact_sheet(scans(RandomLines(4), count=1), tmp_path / "file" / "a.png")

"""The demo cohort: deterministic, varied, and shaped like brains."""

import re
import subprocess
import sys
import time
from importlib import resources
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from ambient_mri.data.anatomy import FIELD_OF_VIEW_MM
from ambient_mri.data.cohort import CONTRASTS, subject
from ambient_mri.errors import InputError

ASSETS = Path(str(resources.files("ambient_mri.data"))) / "assets"


def test_a_subject_is_always_the_same_and_leaves_the_global_state_alone() -> None:
    state = torch.get_rng_state()
    assert torch.equal(subject(3, slices=2).images, subject(3, slices=2).images)
    assert torch.equal(state, torch.get_rng_state())
    assert not torch.equal(subject(3).images, subject(3, seed=1).images)


def test_slices_are_those_of_one_volume() -> None:
    one, three = subject(5), subject(5, slices=3)
    assert torch.equal(one.images[0], three.images[1])
    assert float(one.affine[2, 3] - three.affine[2, 3]) == pytest.approx(float(three.affine[2, 2]))


def test_subjects_look_like_brains_and_differ() -> None:
    images = torch.cat([subject(i).images for i in range(24)])
    assert images.isfinite().all()
    assert (images >= 0).all()
    inside = (images > 0.05).float()
    assert 0.35 < float(inside.mean()) < 0.65
    edges = torch.cat([images[:, 0], images[:, -1], images[..., 0], images[..., -1]])
    assert float(edges.max()) < 0.05  # no wrap-around at the edge of the field of view
    for a, b in pairwise(images):
        assert float((a - b).square().mean().sqrt()) > 0.15 * float(images.std())
    left_right = (images - images.flip(-1)).square().mean().sqrt()
    assert float(left_right) > 0.15 * float(images.std())


@pytest.mark.parametrize(("contrast", "bright_fluid"), [("FLAIR", False), ("T1w", False), ("T2w", True)])
def test_ventricles_have_the_contrast_of_fluid(contrast: str, bright_fluid: bool) -> None:
    images = torch.cat([subject(i, contrast=contrast).images for i in range(24)])
    middle = images[:, 20:40, 26:38].flatten(1)
    brain = torch.stack([image[image > 0.05].median() for image in images])
    extreme = middle.quantile(0.97, 1) if bright_fluid else -middle.quantile(0.03, 1)
    limit = 1.3 * brain if bright_fluid else -0.55 * brain
    assert float((extreme > limit).float().mean()) > 0.8


def test_contrast_may_be_left_to_chance() -> None:
    assert {subject(i, size=16, contrast=None).contrast for i in range(20)} == set(CONTRASTS)


def test_affine_puts_the_centre_of_the_brain_in_the_centre_of_the_image() -> None:
    scan = subject(0, size=128)
    centre = scan.affine @ torch.tensor([63.5, 63.5, 0.0, 1.0])
    assert centre[:2].tolist() == pytest.approx([0.0, 18.0], abs=1e-3)  # LPS: 18 mm behind the anterior commissure
    assert float(scan.affine[0, 0]) == pytest.approx(FIELD_OF_VIEW_MM / 128)


def test_a_slice_takes_milliseconds() -> None:
    subject(0)
    start = time.perf_counter()
    subject(1, slices=8)
    assert time.perf_counter() - start < 2.0  # generous: 6 ms a slice on an idle core


@pytest.mark.parametrize("wrong", [{"index": -1}, {"slices": 0}, {"slices": 99}, {"size": 4}, {"contrast": "CT"}])
def test_impossible_subjects_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(InputError, match="brain_demo"):
        subject(**{"index": 0, **wrong})  # type: ignore[arg-type]


def test_asset_is_small_and_needs_no_pickle() -> None:
    file = ASSETS / "mni152_tissue.npz"
    assert file.stat().st_size < 400_000
    with np.load(file, allow_pickle=False) as maps:
        assert {maps[name].dtype for name in ("grey", "white", "brain")} == {np.dtype("uint8")}
    notice = (ASSETS / "NOTICE.md").read_text()
    assert "Louis Collins" in notice
    assert "provided that the above copyright notice appear" in notice


def test_the_program_of_the_notice_makes_the_asset(tmp_path: Path) -> None:
    pytest.importorskip("nilearn", reason="nilearn carries the template; the package does not need it")
    program = re.search(r"```python\n(.*?)```", (ASSETS / "NOTICE.md").read_text(), re.DOTALL)
    assert program is not None
    subprocess.run([sys.executable, "-c", program[1]], cwd=tmp_path, check=True, timeout=120)
    with np.load(tmp_path / "mni152_tissue.npz") as made, np.load(ASSETS / "mni152_tissue.npz") as kept:
        for name in ("grey", "white", "brain"):
            assert np.array_equal(made[name], kept[name])

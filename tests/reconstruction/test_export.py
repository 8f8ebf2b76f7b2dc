"""Formats: geometry and values."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image

from ambient_mri.reconstruction.export.nifti import write_nifti
from ambient_mri.reconstruction.export.png import write_png

VOLUME = np.random.default_rng(0).random((3, 11, 17)).astype("f4")


def test_nifti_places_every_voxel_where_the_lps_affine_does(tmp_path: Path) -> None:
    turn = np.array([[0.96, -0.28, 0.0], [0.28, 0.96, 0.0], [0.0, 0.0, 1.0]])
    lps = np.eye(4)
    lps[:3, :3] = turn @ np.diag([1.5, 2.0, 5.0])
    lps[:3, 3] = (-30.0, 12.0, 7.0)
    image = nib.load(write_nifti(tmp_path / "a.nii.gz", VOLUME, affine=lps))
    assert image.shape == (17, 11, 3)
    column, row, number = 4, 7, 2
    assert np.asarray(image.dataobj)[column, row, number] == VOLUME[number, row, column]
    left, posterior, superior, _ = lps @ (column, row, number, 1)
    assert np.allclose(image.affine @ (column, row, number, 1), (-left, -posterior, superior, 1), atol=1e-4)
    assert np.allclose(image.get_qform(), image.get_sform(), atol=1e-4)
    assert int(image.header["sform_code"]) == 1


def test_an_unknown_geometry_stays_unknown(tmp_path: Path) -> None:
    image = nib.load(write_nifti(tmp_path / "a.nii.gz", VOLUME, affine=None, voxel_mm=(1.5, 2.0, 5.0)))
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (0, 0)
    assert np.allclose(image.header.get_zooms(), (1.5, 2.0, 5.0))


def test_previews_have_square_pixels(tmp_path: Path) -> None:
    assert Image.open(write_png(tmp_path / "a.png", VOLUME[0])).size == (17, 11)
    assert Image.open(write_png(tmp_path / "b.png", VOLUME[0], pixel_mm=(2.0, 1.0))).size == (17, 22)
    assert not np.asarray(Image.open(write_png(tmp_path / "c.png", np.zeros((4, 4), "f4")))).any()


def test_the_same_volume_is_the_same_bytes(tmp_path: Path) -> None:
    one, two = (write_nifti(tmp_path / name, VOLUME, affine=np.eye(4)) for name in ("a.nii.gz", "b.nii.gz"))
    assert one.read_bytes() == two.read_bytes()
    plain = write_nifti(tmp_path / "a.nii", VOLUME, affine=np.eye(4))
    assert np.array_equal(nib.load(plain).get_fdata(), nib.load(one).get_fdata())

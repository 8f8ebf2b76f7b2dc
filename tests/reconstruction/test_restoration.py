"""Damaged magnitude images: what is missing is said by the user, what was measured comes out as it went in."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
import yaml

from ambient_mri.cli import main
from ambient_mri.data.readers.dicom import DicomVolume, open_volumes
from ambient_mri.data.readers.dicom_files import find_files
from ambient_mri.data.readers.magnitude import Missing, open_nifti
from ambient_mri.errors import InputError, PartlyDone
from ambient_mri.prior.shipped import located
from ambient_mri.reconstruction.batch import reconstruct
from ambient_mri.reconstruction.export.dicom import Derivation, write_mr_series
from ambient_mri.reconstruction.export.dicom_source import from_dicom
from ambient_mri.reconstruction.export.nifti import write_nifti
from ambient_mri.reconstruction.posterior import Sampling

pydicom = pytest.importorskip("pydicom", reason="the extra 'dicom' is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")  # vendors' private values are often out of the standard

PADDING = 30000


@pytest.fixture(scope="module")
def intact(real_data: Path) -> DicomVolume:
    return open_volumes(find_files(real_data / "dicom" / "siemens_xa30_classic"))[0][0]


@pytest.fixture(scope="module")
def measured(intact: DicomVolume) -> np.ndarray:
    """A block is missing from slices 1 and 3, scattered pixels from slice 4."""
    kept = np.ones(intact.shape, bool)
    kept[1, 30:42, 20:36] = False
    kept[3, 50:60, 40:52] = False
    kept[4] = np.random.default_rng(0).random(intact.shape[1:]) < 0.7
    return kept


@pytest.fixture
def damaged(intact: DicomVolume, measured: np.ndarray, tmp_path: Path) -> Path:
    """The series with `PADDING` in place of what is missing, as the header says."""
    folder = tmp_path / "study"
    folder.mkdir()
    for index, frame in enumerate(intact.frames):
        dataset = pydicom.dcmread(frame.path)
        pixels = np.where(measured[index], dataset.pixel_array, PADDING).astype(np.uint16)
        dataset.BitsStored, dataset.HighBit = 16, 15
        dataset.set_pixel_data(pixels, "MONOCHROME2", 16)
        dataset.add_new("PixelPaddingValue", "US", PADDING)
        dataset.save_as(folder / frame.path.name)
    return folder


@pytest.fixture(scope="module")
def block_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three steps of training on images with missing blocks."""
    folder = tmp_path_factory.mktemp("blocks")
    spec = {
        "based_on": "brain_demo",
        "acquisition": {"domain": "image", "coils": 1, "phase": "none", "noise_std": 0.0,
                        "pattern": {"kind": "blocks", "height": 0.3, "width": 0.3, "count": 1}},
    }  # fmt: skip
    (folder / "blocks.yaml").write_text(yaml.safe_dump(spec))
    words = ["--preset", "tiny", "--steps", "3", "--out", str(folder / "run")]
    assert main(["train", "--data", str(folder / "blocks.yaml"), *words]) == 0
    return folder / "run" / "bundle"


def _read(volume: DicomVolume) -> np.ndarray:
    return np.stack([volume.read(i) for i in range(len(volume))])


@pytest.mark.parametrize("method", ["biharmonic", "tv", "one-step"])
def test_measured_pixels_stay_and_missing_ones_are_estimated(
    intact: DicomVolume, measured: np.ndarray, damaged: Path, block_bundle: Path, tmp_path: Path, method: str
) -> None:
    bundle, out = (block_bundle if method == "one-step" else None), tmp_path / "out"
    (result,) = reconstruct(
        bundle, [damaged], out, method=method, formats=["dicom", "nifti", "hdf5"], missing=Missing(value="padding")
    )
    truth = _read(intact)
    (name,) = {path.name.split(".")[0] for path in out.glob("*.h5")}
    with h5py.File(out / f"{name}.h5") as file:
        image, kept = np.asarray(file["reconstruction"]), np.asarray(file["measured"])
        assert file.attrs["missing_pixels"] == (~measured).sum()
    assert np.array_equal(kept, measured)
    assert np.array_equal(image[measured], truth[measured]), "measured pixels come out as they went in"
    assert not np.isin(PADDING, image)
    if method != "one-step":  # three steps of training know nothing
        error = np.linalg.norm(image[~measured] - truth[~measured]) / np.linalg.norm(truth[~measured])
        assert error < 0.4
    else:
        assert any("86 x 86" in warning for warning in result.warnings)
    (series,), problems = open_volumes(find_files(out / f"{name}_dicom"))
    assert problems == []
    assert np.allclose(series.affine, intact.affine)
    volume = nib.load(out / f"{name}.nii.gz")
    assert np.allclose(np.asarray(volume.dataobj).transpose(2, 1, 0), image)
    assert result.outputs[0].name == f"{name}.nii.gz"


def test_a_refined_model_of_kspace_restores_images(
    intact: DicomVolume, measured: np.ndarray, damaged: Path, tmp_path: Path
) -> None:
    model = located("brain_128_refined")
    (result,) = reconstruct(model, [damaged], tmp_path, formats=["hdf5"], missing=Missing(value="padding"),
                            sampling=Sampling(samples=2, nfe=4))  # fmt: skip
    truth = _read(intact)
    with h5py.File(result.outputs[0]) as file:
        image = np.asarray(file["reconstruction"])
    assert np.array_equal(image[measured], truth[measured])
    error = np.linalg.norm(image[~measured] - truth[~measured]) / np.linalg.norm(truth[~measured])
    assert error < 0.3
    assert not any("is missing, in training" in warning for warning in result.warnings)


def test_other_settings_make_another_series(damaged: Path, measured: np.ndarray, tmp_path: Path) -> None:
    """An archive keeps the images it has under a UID: what was drawn otherwise needs another one."""
    import pydicom

    for path in sorted(damaged.iterdir())[2:]:  # two slices, of which the second misses a block
        path.unlink()

    def made(name: str, sampling: Sampling, missing: Missing) -> tuple[str, list[str]]:
        out = tmp_path / name
        reconstruct(located("brain_128_refined"), [damaged], out, method="dps", formats=["dicom"],
                    missing=missing, sampling=sampling)  # fmt: skip
        image = pydicom.dcmread(next(out.rglob("IM0001.dcm")))
        block = image.private_block(0x99, "AMBIENT-MRI")
        return image.SeriesInstanceUID, [bytes(block[number].value).decode().strip() for number in (7, 8)]

    fewer = measured[:2].copy()
    fewer[1, :4] = False
    np.save(tmp_path / "fewer.npy", fewer)
    padding = Missing(value="padding")
    first, again, seeded, twice, longer, masked = (
        made(name, sampling, missing) for name, sampling, missing in (
            ("a", Sampling(1, 3), padding), ("b", Sampling(1, 3), padding), ("c", Sampling(1, 3, seed=5), padding),
            ("d", Sampling(2, 3), padding), ("e", Sampling(1, 4), padding),
            ("f", Sampling(1, 3), Missing(tmp_path / "fewer.npy")),
        )
    )  # fmt: skip
    assert first == again, "the same settings make the same series"
    assert len({uid for uid, _ in (first, seeded, twice, longer, masked)}) == 5
    assert [said for _, (said, _) in (first, seeded)] == ["seed 0", "seed 5"]
    assert first[1][1] == masked[1][1] != twice[1][1], "the hash of the settings is stated"


def test_slices_that_miss_nothing_are_not_looked_at(
    intact: DicomVolume, measured: np.ndarray, damaged: Path, tmp_path: Path
) -> None:
    reconstruct(None, [damaged], tmp_path / "out", method="zero-filled", missing=Missing(value=PADDING))
    (path,) = (tmp_path / "out").glob("*.h5")
    with h5py.File(path) as file:
        image = np.asarray(file["reconstruction"])
    for index in (0, 2, 5):
        assert np.array_equal(image[index], intact.read(index))
    assert not image[~measured].any(), "zero-filled was asked for"


def test_masks_of_every_format_say_the_same(
    intact: DicomVolume, measured: np.ndarray, damaged: Path, tmp_path: Path
) -> None:
    (volume,), _ = open_volumes(find_files(damaged))
    np.save(tmp_path / "mask.npy", measured)
    affine = intact.affine
    assert affine is not None
    write_nifti(tmp_path / "mask.nii.gz", measured.astype(np.float32), affine=affine)
    nib.save(nib.as_closest_canonical(nib.load(tmp_path / "mask.nii.gz")), tmp_path / "turned.nii")  # other axes
    source = from_dicom(intact)
    assert source is not None
    write_mr_series(tmp_path / "series", measured.astype(np.float32), source, Derivation("mask", "mask", "a"))
    for mask in ("mask.npy", "mask.nii.gz", "turned.nii", "series"):
        assert np.array_equal(Missing(tmp_path / mask).measured(volume), measured), mask
    for value in ("padding", float(PADDING)):
        assert np.array_equal(Missing(value=value).measured(volume), measured)
    np.save(tmp_path / "plane.npy", measured[1])
    assert np.array_equal(Missing(tmp_path / "plane.npy").measured(volume)[4], measured[1])


@pytest.mark.parametrize(
    ("how", "said"),
    [("nothing", "say which pixels"), ("both", "in one way"), ("elsewhere", "does not lie where"),
     ("nan", "no pixel is"), ("shape", "a mask of"),
     ("all", "nothing to restore"), ("slice", "no measured pixel"),
     ("text", "not a mask"),
     ("absent", "no such file")],
)  # fmt: skip
def test_what_does_not_say_which_pixels_is_refused(
    intact: DicomVolume, measured: np.ndarray, tmp_path: Path, how: str, said: str
) -> None:
    path, kept = tmp_path / "mask.npy", measured.copy()
    if how == "elsewhere":
        path = tmp_path / "mask.nii"
        moved = np.array(intact.affine)
        moved[0, 3] += 3
        write_nifti(path, kept.astype(np.float32), affine=moved)
    elif how == "text":
        path.write_text("mask")
    elif how != "absent":
        kept[2] &= how != "slice"
        np.save(path, {"shape": kept[:, :5], "all": kept | True}.get(how, kept))
    choice = {"nothing": Missing(), "both": Missing(path, 0.0), "nan": Missing(value="nan")}.get(how, Missing(path))
    with pytest.raises(InputError, match=said) as caught:
        choice.measured(intact)
    assert "\n" not in str(caught.value)


def test_nan_of_a_nifti_volume_is_missing_and_nothing_spreads(
    intact: DicomVolume, measured: np.ndarray, tmp_path: Path
) -> None:
    truth = _read(intact)
    path = write_nifti(tmp_path / "scan.nii.gz", np.where(measured, truth, np.nan), affine=intact.affine)
    assert np.array_equal(Missing(value="nan").measured(open_nifti(path)), measured)
    reconstruct(None, [path], tmp_path / "out", method="biharmonic", missing=Missing(value="nan"), formats=["nifti"])
    image = nib.load(tmp_path / "out" / "scan.nii.gz")
    values = np.asarray(image.dataobj).transpose(2, 1, 0)
    assert np.array_equal(values[measured], truth[measured])
    assert np.isfinite(values).all()
    assert np.allclose(image.affine, nib.load(path).affine, atol=1e-4)


def test_a_measured_nan_or_a_phase_image_is_refused(real_data: Path, tmp_path: Path, measured: np.ndarray) -> None:
    values = np.ones((3, 20, 20), np.float32)
    values[0, 0, 0] = np.nan
    kept = np.ones_like(values, dtype=bool)
    kept[1, 4:8, 4:8] = False
    path = write_nifti(tmp_path / "scan.nii", values, affine=np.eye(4))
    np.save(tmp_path / "mask.npy", kept)
    with pytest.raises(InputError, match="negative, NaN"):
        reconstruct(None, [path], tmp_path / "out", method="tv", missing=Missing(tmp_path / "mask.npy"))
    fields = real_data / "dicom" / "philips_enhanced_fieldmap"
    np.save(tmp_path / "plane.npy", np.arange(64 * 64).reshape(64, 64) > 500)
    with pytest.raises(PartlyDone, match=r"1 of 2 cases failed: .*field map"):
        reconstruct(None, [fields], tmp_path / "out", method="tv", missing=Missing(tmp_path / "plane.npy"))


def test_images_never_become_kspace(damaged: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="trained on k-space, and this is pixels"):
        reconstruct(tiny_bundle, [damaged], tmp_path / "out", missing=Missing(value="padding"))
    with pytest.raises(InputError, match="does not apply"):
        reconstruct(None, [damaged], tmp_path / "out", method="cg-sense", missing=Missing(value="padding"))


def test_images_of_unknown_place_give_no_dicom(real_data: Path, tmp_path: Path) -> None:
    path = real_data / "dicom" / "pydicom_emri_small" / "emri_small_RLE.dcm"
    np.save(tmp_path / "plane.npy", np.arange(64 * 64).reshape(64, 64) > 500)
    missing = Missing(tmp_path / "plane.npy")
    with pytest.raises(InputError, match="where its slices lie"):
        reconstruct(None, [path], tmp_path / "out", method="tv", formats=["dicom"], missing=missing)
    reconstruct(None, [path], tmp_path / "out", method="tv", formats=["nifti"], missing=missing)
    (image,) = (p for p in (tmp_path / "out").glob("*.nii.gz") if "measured" not in p.name)
    assert int(nib.load(image).header["sform_code"]) == 0


def test_one_bad_series_does_not_spoil_the_others(damaged: Path, real_data: Path, tmp_path: Path) -> None:
    job = tmp_path / "job"
    shutil.copytree(damaged, job / "a")
    shutil.copytree(real_data / "dicom" / "ge_epi", job / "b")  # nothing is missing there
    (job / "c").mkdir()
    broken = next((real_data / "dicom" / "ge_epi").glob("*.dcm")).read_bytes()[:900]
    (job / "c" / "cut.dcm").write_bytes(broken)
    words = ["reconstruct", "none", str(job), "--out", str(tmp_path / "out"), "--method", "biharmonic"]
    words += ["--missing", str(PADDING), "--format", "dicom"]
    assert main(words) == 3
    first = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.dcm")}
    assert len(first) == 6
    assert main(words) == 3
    assert first == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*.dcm")}, "nothing is redone"
    assert main([*words, "--fail-fast"]) == 2
    assert main([word.replace(str(PADDING), "31000") for word in words]) == 2, "all failed"


def test_another_mask_is_another_job(damaged: Path, measured: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "mask.npy", measured)
    first = reconstruct(None, [damaged], tmp_path / "out", method="tv", missing=Missing(tmp_path / "mask.npy"))
    again = reconstruct(None, [damaged], tmp_path / "out", method="tv", missing=Missing(tmp_path / "mask.npy"))
    assert [first[0].skipped, again[0].skipped] == [False, True]
    measured = measured.copy()
    measured[0, :4] = False
    np.save(tmp_path / "mask.npy", measured)
    (other,) = reconstruct(None, [damaged], tmp_path / "out", method="tv", missing=Missing(tmp_path / "mask.npy"))
    assert not other.skipped


def test_slices_of_air_do_not_set_the_scale(tmp_path: Path) -> None:
    """The middle slice is all but empty: what is missing elsewhere still comes out as bright as what is around it."""
    rng = np.random.default_rng(0)
    image = np.repeat(rng.uniform(1, 2, (24, 20, 1)), 3, 2).astype(np.float32)
    image[..., 1] *= 1e-3
    kept = rng.random(image.shape) > 0.4
    for name, values in (("a", image), ("mask", kept.astype(np.uint8))):
        nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / f"{name}.nii.gz")
    missing = Missing(mask=tmp_path / "mask.nii.gz")
    (result,) = reconstruct(None, [tmp_path / "a.nii.gz"], tmp_path / "out", method="tv", formats=["nifti"],
                            missing=missing)  # fmt: skip
    found = nib.load(next(path for path in result.outputs if path.name.endswith(".nii.gz"))).get_fdata()
    hidden = ~kept[..., 0]
    assert found[..., 0][hidden].mean() == pytest.approx(1.5, abs=0.1)

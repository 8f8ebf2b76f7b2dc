"""Real DICOM of six vendors: each volume where dcm2niix puts it, same values; damage is named and stays apart."""

from __future__ import annotations

import gzip
import shutil
import subprocess
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from ambient_mri.data.readers.content import kind
from ambient_mri.data.readers.dicom import DicomVolume, open_volumes
from ambient_mri.data.readers.dicom_files import find_files, is_dicom, read_header
from ambient_mri.data.readers.dicom_frames import frames
from ambient_mri.data.readers.image_reader import DicomVolumeReader
from ambient_mri.data.readers.nifti import RAS_TO_LPS
from ambient_mri.errors import InputError

pydicom = pytest.importorskip("pydicom", reason="the extra 'dicom' is not installed")

PLACED = ("canon_enhanced", "ge_epi", "ge_t1_mprage", "philips_enhanced_fieldmap", "siemens_mosaic", "uih_dti",
          "siemens_xa10_enhanced", "siemens_xa30_classic", "siemens_xa30_enhanced", "studyforrest_t1")  # fmt: skip
SYNTAXES = ("", "_RLE", "_big_endian", "_jpeg_2k_lossless", "_jpeg_ls_lossless")
pytestmark = pytest.mark.filterwarnings("ignore")  # vendors' private values are often out of the standard


@pytest.fixture(scope="module")
def samples(real_data: Path) -> Path:
    return real_data / "dicom"


def converted(program: str, folder: Path, out: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """The volumes of dcm2niix as (values (x, y, z), affine), nearest to the canonical axes."""
    out.mkdir(exist_ok=True)
    words = ["-b", "n", "-z", "n", "-p", "n", "-o", str(out), str(folder)]
    subprocess.run([program, *words], check=True, capture_output=True)
    found = []
    for path in sorted(out.glob("*.nii")):
        if path.stem.endswith("_Eq"):
            continue
        image = nib.as_closest_canonical(nib.load(path))
        values = image.get_fdata()
        for i in range(values.shape[3] if values.ndim == 4 else 1):
            found.append((values[..., i] if values.ndim == 4 else values, image.affine))
    return found


def canonical(volume: DicomVolume) -> tuple[np.ndarray, np.ndarray]:
    assert volume.affine is not None
    values = np.stack([volume.read(i) for i in range(len(volume))]).transpose(2, 1, 0)
    image = nib.as_closest_canonical(nib.Nifti1Image(values, RAS_TO_LPS @ volume.affine))
    return image.get_fdata(), image.affine


@pytest.mark.parametrize("name", PLACED)
def test_every_voxel_lies_where_dcm2niix_puts_it(samples: Path, name: str, dcm2niix: str, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for path in find_files(samples / name):
        if path.suffix == ".gz":  # which dcm2niix does not read
            (folder / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
        else:
            shutil.copy(path, folder)
    volumes, problems = open_volumes(find_files(samples / name))
    theirs = converted(dcm2niix, folder, tmp_path / "out")
    assert problems == []
    assert len(volumes) == len(theirs)
    for volume in volumes:
        values, affine = canonical(volume)
        tolerance = 1e-3 * max(1.0, np.abs(values).max())
        same = [a for v, a in theirs if v.shape == values.shape and np.abs(v - values).max() <= tolerance]
        assert same, f"{volume.name} ({volume.component}) is not among dcm2niix's volumes"
        assert min(np.abs(a - affine).max() for a in same) < 2e-3  # mm: dcm2niix computes in single precision


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_compressed_transfer_syntaxes_give_the_same_pixels(samples: Path, syntax: str) -> None:
    reference, other = (samples / "pydicom_emri_small" / f"emri_small{end}.dcm" for end in ("", syntax))
    (expected,), (volume,) = open_volumes([reference])[0], open_volumes([other])[0]
    assert len(volume) == 10
    assert all(np.array_equal(volume.stored(i), expected.stored(i)) for i in range(10))
    assert volume.stored(3).max() > 100
    assert volume.affine is None, "the file does not say where it lies"


def test_rescaling_and_components_of_frames(samples: Path) -> None:
    magnitude, field = open_volumes(find_files(samples / "philips_enhanced_fieldmap"))[0]
    assert (magnitude.component, field.component) == ("MAGNITUDE", "FIELD_MAP")
    assert magnitude.frames[0].rescale == (1.27985347985347, 0)
    assert np.allclose(magnitude.read(4), magnitude.stored(4) * 1.27985347985347)
    assert field.read(9).min() < 0, "a field map has two signs, by its intercept"


def test_copies_count_once(samples: Path, tmp_path: Path) -> None:
    source = samples / "ge_epi"
    shutil.copytree(source, tmp_path / "a")
    shutil.copytree(source, tmp_path / "b")
    (volume,), problems = open_volumes(find_files(tmp_path))
    assert (len(volume), problems) == (12, [])


def test_files_are_known_by_content(samples: Path, tmp_path: Path) -> None:
    shutil.copy(next((samples / "ge_epi").glob("*.dcm")), tmp_path / "looks.png")
    (tmp_path / "looks.dcm").write_text("no image")
    assert is_dicom(tmp_path / "looks.png")
    assert kind(tmp_path / "looks.png") == "dicom"
    assert kind(tmp_path / "looks.dcm") is None
    assert is_dicom(next((samples / "canon_enhanced").glob("*.gz")))
    assert not is_dicom(tmp_path / "absent")


def _damaged(source: Path, path: Path, how: str) -> None:
    dataset = pydicom.dcmread(source)
    dataset.PatientName = "SENTINEL^NAME"
    if how == "pixels cut":
        dataset.PixelData = dataset.PixelData[:100]
    elif how == "no pixels":
        del dataset.PixelData
    elif how == "orientation":
        dataset.ImageOrientationPatient = [1, 0, 0, 1, 0, 0]
    elif how == "no rows":
        del dataset.Rows
    elif how == "other class":
        dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    dataset.save_as(path)
    if how == "truncated":
        path.write_bytes(path.read_bytes()[:600])


@pytest.mark.parametrize("how", ["truncated", "pixels cut", "no pixels", "orientation", "no rows", "other class"])
def test_a_damaged_file_is_named_without_its_values(samples: Path, tmp_path: Path, how: str) -> None:
    source = sorted((samples / "ge_epi").glob("*.dcm"))[3]
    path = tmp_path / "bad.dcm"
    _damaged(source, path, how)
    volumes, problems = open_volumes([path])
    if not problems:
        with pytest.raises(InputError) as caught:
            volumes[0].read(0)
        problems = [caught.value]
    said = str(problems[0])
    assert "bad.dcm" in said
    assert "SENTINEL" not in said
    assert "\n" not in said


def test_a_missing_slice_is_told_from_an_uneven_one(samples: Path) -> None:
    files = find_files(samples / "ge_t1_mprage")
    heights = sorted(files, key=lambda path: float(read_header(path).SliceLocation))
    (volume,), problems = open_volumes([*heights[:10], *heights[11:]])
    assert problems == []
    assert len(volume) == 129
    assert volume.affine is None, "slices with a gap have no affine"
    assert open_volumes(heights[:10])[0][0].affine is not None
    echo = read_header(heights[0])
    assert frames(echo, heights[0])[0].echo_ms == pytest.approx(float(echo.EchoTime))


def test_times_with_missing_images_are_refused(samples: Path, tmp_path: Path) -> None:
    files = sorted((samples / "ge_epi").glob("*.dcm"))
    for number, path in enumerate(files[:3]):
        again = pydicom.dcmread(path)
        again.SOPInstanceUID = f"1.2.3.{number}"
        again.file_meta.MediaStorageSOPInstanceUID = again.SOPInstanceUID
        again.InstanceNumber += 100
        again.save_as(tmp_path / f"{number}.dcm")
    volumes, problems = open_volumes([*files, *tmp_path.glob("*.dcm")])
    assert volumes == []
    assert "images are missing" in str(problems[0])
    both, none = open_volumes([*files[:3], *tmp_path.glob("*.dcm")])
    assert ([len(v) for v in both], none) == ([3, 3], [])
    assert both[0].name != both[1].name


def test_monai_loads_a_series_with_its_place(samples: Path) -> None:
    from monai.transforms import LoadImage

    image = LoadImage(reader=DicomVolumeReader(), ensure_channel_first=True)(str(samples / "siemens_xa30_classic"))
    (volume,), _ = open_volumes(find_files(samples / "siemens_xa30_classic"))
    assert image.shape == (1, 86, 86, 6)
    assert np.allclose(image[0].numpy().transpose(2, 1, 0)[2], volume.read(2))
    assert np.allclose(image.affine, RAS_TO_LPS @ volume.affine)
    with pytest.raises(InputError, match="2 volumes"):
        DicomVolumeReader().read(samples / "siemens_mosaic")

"""Prospective files hold what was measured; the truth lies apart; readers and MONAI agree on what is in them."""

from pathlib import Path

import h5py
import nibabel
import numpy as np
import pytest
import torch
import yaml

from ambient_mri.data.dataset import open_evaluation, open_scans
from ambient_mri.data.prospective import simulate_files
from ambient_mri.data.readers.fastmri import open_volume
from ambient_mri.data.spec import DataSpec, load_spec
from ambient_mri.data.split import parts
from ambient_mri.errors import InputError
from ambient_mri.fourier import fft2c


@pytest.fixture
def spec(tmp_path: Path) -> DataSpec:
    facts = {
        "based_on": "brain_demo",
        "source": {"subjects": 12, "image_size": 48, "slices": 2},
        "acquisition": {"pattern": {"kind": "random_lines", "acceleration": 3, "calibration_fraction": 0.16}},
        "split": {"validation": 3, "test": 3},
    }
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(facts))
    return load_spec(path)


def test_files_hold_measured_samples_only(spec: DataSpec, tmp_path: Path) -> None:
    out = simulate_files(spec, coils=6, acceleration=4, noise_std=0.1, out=tmp_path / "scans", limit=3)
    files = sorted(out.glob("*.h5"))
    assert len(files) == 3
    for path in files:
        with h5py.File(path) as file, h5py.File(out / "truth" / path.name) as truth:
            assert set(file) == {"kspace", "mask", "ismrmrd_header"}
            kspace, mask = file["kspace"][()], file["mask"][()]
            assert kspace.shape == (2, 6, 48, 48)
            assert kspace.dtype == np.complex64
            assert file["kspace"].compression is None
            assert file["kspace"].chunks is None
            assert mask.sum() == 12
            assert not kspace[..., mask == 0].any()
            assert not {"max", "norm"} & set(file.attrs)
            assert str(path.stem) not in "".join(map(str, file.attrs.values()))
            image = torch.from_numpy(truth["image"][()])
            maps = torch.from_numpy(truth["sensitivity_maps"][()])
            misfit = (torch.from_numpy(kspace) - fft2c(maps * image[:, None]))[..., mask == 1]
            assert float(misfit.real.std()) == pytest.approx(0.1, rel=0.1)
            assert float(misfit.imag.std()) == pytest.approx(0.1, rel=0.1)
            assert float(image.abs().std()) == pytest.approx(0.5, rel=1e-3)


def test_the_reader_understands_the_files(spec: DataSpec, tmp_path: Path) -> None:
    out = simulate_files(spec, out=tmp_path / "scans", limit=1)
    (path,) = out.glob("*.h5")
    volume = open_volume(path)
    assert volume.mask is not None
    assert volume.mask.shape == (1, 48)
    assert volume.header is not None
    assert volume.header.encoded_matrix == (48, 48, 1)
    assert volume.header.encoded_fov_mm == pytest.approx((208, 208, 7))
    assert volume.offset is not None  # contiguous
    assert volume.noise_std == pytest.approx(0.02)


def test_the_header_follows_the_standard(spec: DataSpec, tmp_path: Path) -> None:
    ismrmrd = pytest.importorskip("ismrmrd", reason="the optional part mrd checks the header")
    out = simulate_files(spec, out=tmp_path / "scans", limit=1)
    with h5py.File(next(out.glob("*.h5"))) as file:
        header = ismrmrd.xsd.CreateFromDocument(file["ismrmrd_header"][()])
    assert header.encoding[0].encodedSpace.matrixSize.x == 48


def test_the_written_spec_opens_the_files_and_keeps_patients_apart(spec: DataSpec, tmp_path: Path) -> None:
    out = simulate_files(spec, out=tmp_path / "scans")
    written = load_spec(out / "spec.yaml")
    assert written.simulated
    assert sum(len(records) for records in parts(written).values()) == 24
    scans = open_scans(written, "train", limit=2)
    assert scans[0].y.shape == (1, 4, 48, 48)
    assert scans[0].y.isfinite().all()
    assert float(scans[0].noise_std * scans[0].scale) == pytest.approx(0.02)
    with pytest.raises(InputError, match="no truth"):
        open_evaluation(written, "test")


def test_test_patients_come_first(spec: DataSpec, tmp_path: Path) -> None:
    out = simulate_files(spec, out=tmp_path / "scans", limit=3)
    assert {path.stem for path in out.glob("*.h5")} == {record.volume_id for record in parts(spec)["test"]}


def test_running_again_changes_nothing_and_other_content_is_not_overwritten(spec: DataSpec, tmp_path: Path) -> None:
    out = simulate_files(spec, out=tmp_path / "scans", limit=2)
    before = {path: path.read_bytes() for path in out.rglob("*.*") if path.is_file()}
    simulate_files(spec, out=out, limit=2)
    assert before == {path: path.read_bytes() for path in out.rglob("*.*") if path.is_file()}
    with pytest.raises(InputError, match="something else"):
        simulate_files(spec, out=out, limit=2, seed=1)
    assert before == {path: path.read_bytes() for path in out.rglob("*.*") if path.is_file()}


def test_another_acceleration_keeps_the_truth(spec: DataSpec, tmp_path: Path) -> None:
    a, b = (simulate_files(spec, out=tmp_path / name, limit=1, acceleration=r) for name, r in (("a", 2), ("b", 4)))
    (name,) = (path.name for path in a.glob("*.h5"))
    assert (a / "truth" / name).read_bytes() == (b / "truth" / name).read_bytes()
    assert (a / name).read_bytes() != (b / name).read_bytes()


def test_magnitude_volumes_of_a_study(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    for k in range(4):
        (folder / f"sub-{k}" / "anat").mkdir(parents=True)
        volume = np.random.default_rng(k).random((32, 32, 3)).astype(np.float32)
        image = nibabel.Nifti1Image(volume, np.diag([2.0, 2.0, 5.0, 1.0]))
        nibabel.save(image, folder / f"sub-{k}" / "anat" / f"sub-{k}_T2w.nii.gz")
    facts = {
        "based_on": "brain_bids",
        "source": {"root": str(folder), "suffix": "T2w", "slices": "all", "image_size": 32},
        "acquisition": {"pattern": {"kind": "random_points", "acceleration": 3, "calibration_fraction": 0.2}},
        "split": {"validation": 1, "test": 1},
    }
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(facts))
    out = simulate_files(load_spec(tmp_path / "study.yaml"), out=tmp_path / "scans", limit=1)
    with h5py.File(next(out.glob("*.h5"))) as file:
        assert file["kspace"].shape == (3, 4, 32, 32)
        assert file["mask"].shape == (32, 32)
        assert file.attrs["acquisition"] == "AXT2"
        assert not file["kspace"][()][..., file["mask"][()] == 0].any()


def test_pixels_and_acquired_scans_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="k-space"):
        simulate_files(load_spec("brain_bids_pixels"), out=tmp_path)
    with pytest.raises(InputError, match="nothing to simulate"):
        simulate_files(load_spec("brain_fastmri"), out=tmp_path)


def test_a_folder_that_cannot_be_written_is_said_in_a_line(spec: DataSpec, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        simulate_files(spec, out=tmp_path / "file", limit=1)

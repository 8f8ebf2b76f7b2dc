"""Files to files: what is written, what a re-run skips, what a bad file does to the others."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import h5py
import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from ambient_mri.cli import main
from ambient_mri.data.prospective import simulate_files
from ambient_mri.data.readers.ismrmrd_header import parse_header
from ambient_mri.data.spec import load_spec
from ambient_mri.errors import InputError, PartlyDone
from ambient_mri.prior.shipped import located
from ambient_mri.reconstruction import methods, outputs
from ambient_mri.reconstruction.batch import reconstruct
from ambient_mri.reconstruction.manifest import Manifest


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = load_spec("brain_demo")
    spec = spec.model_copy(update={"source": spec.source.model_copy(update={"image_size": 48, "slices": 3})})
    return simulate_files(spec, coils=3, acceleration=2, noise_std=0.02, out=tmp_path_factory.mktemp("scans"), limit=2)


def _files(scans: Path) -> list[Path]:
    return sorted(scans.glob("*.h5"))


def _truth(scans: Path, path: Path) -> np.ndarray:
    with h5py.File(scans / "truth" / path.name) as file:
        name = next(iter(file))
        return np.abs(np.asarray(file[name]))


def test_images_are_right_and_in_the_units_of_the_file(scans: Path, tmp_path: Path) -> None:
    errors = {}
    for method in ("zero-filled", "cg-sense", "l1-wavelet", "tv"):
        results = reconstruct(None, _files(scans), tmp_path / method, method=method)
        assert len(results) == 2
        for path in _files(scans):
            with h5py.File(tmp_path / method / path.name) as file:
                image, phase = np.asarray(file["reconstruction"]), np.asarray(file["reconstruction_complex"])
                assert file.attrs["method"] == method
                assert file.attrs["acceleration"] == pytest.approx(2, rel=0.1)
            truth = _truth(scans, path)
            assert image.shape == truth.shape == (3, 48, 48)
            assert np.allclose(np.abs(phase), image, atol=1e-6)
            errors[method] = float(np.linalg.norm(image - truth) / np.linalg.norm(truth))
    assert errors["tv"] < 0.2
    assert errors["tv"] < errors["cg-sense"] < errors["zero-filled"]


def test_nifti_states_voxels_and_no_orientation_that_nobody_knows(scans: Path, tmp_path: Path) -> None:
    path = _files(scans)[0]
    reconstruct(None, [path], tmp_path, method="zero-filled")
    image = nib.load(tmp_path / f"{path.stem}.nii.gz")
    with h5py.File(tmp_path / path.name) as file:
        assert np.allclose(np.asarray(image.dataobj), np.asarray(file["reconstruction"]).transpose(2, 1, 0))
    assert (int(image.header["sform_code"]), int(image.header["qform_code"])) == (0, 0)
    assert all(size > 0.5 for size in image.header.get_zooms())
    preview = np.asarray(Image.open(tmp_path / f"{path.stem}.png"))
    assert preview.dtype == np.uint8
    assert preview.max() == 255


@pytest.mark.parametrize("oversampled", [1, 2])
def test_a_matrix_to_be_interpolated_to_makes_no_voxel_smaller(scans: Path, tmp_path: Path, oversampled: int) -> None:
    """Where the header reconstructs to more pixels than were encoded, the image keeps those that were encoded."""
    path = Path(shutil.copy(_files(scans)[0], tmp_path / "interpolated.h5"))
    with h5py.File(path, "a") as file:
        header = parse_header(file["ismrmrd_header"][()], "")
        side = header.recon_fov_mm[0] / oversampled
        encoded, _, rest = file["ismrmrd_header"][()].decode().partition("<reconSpace>")
        matrix, fov = "<x>96</x><y>96</y><z>1</z>", f"<x>{side}</x><y>{side}</y><z>5</z>"
        space = f"<reconSpace><matrixSize>{matrix}</matrixSize><fieldOfView_mm>{fov}</fieldOfView_mm></reconSpace>"
        del file["ismrmrd_header"]
        file["ismrmrd_header"] = encoded + space + rest.partition("</reconSpace>")[2]
    reconstruct(None, [_files(scans)[0], path], tmp_path / "out", method="zero-filled")
    plain, interpolated = (nib.load(tmp_path / "out" / f"{name}.nii.gz") for name in (_files(scans)[0].stem, path.stem))
    assert interpolated.shape[:2] == tuple(n // oversampled for n in plain.shape[:2])
    assert interpolated.header.get_zooms()[:2] == pytest.approx(plain.header.get_zooms()[:2])


def test_work_done_again_is_never_said_to_be_skipped_however_long_it_took(
    scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ambient_mri.reconstruction.job.time.perf_counter", lambda: 0.0)  # both take as long
    files = _files(scans)
    reconstruct(None, files, tmp_path, method="cg-sense")
    (tmp_path / f"{files[0].stem}.png").unlink()
    assert [result.skipped for result in reconstruct(None, files, tmp_path, method="cg-sense")] == [False, True]


def test_a_second_run_skips_what_is_done_and_does_again_what_changed(scans: Path, tmp_path: Path) -> None:
    files, lines = _files(scans), list[str]()
    reconstruct(None, files, tmp_path, method="cg-sense", progress=lines.append)
    assert len(lines) == 2
    assert "s left" in lines[0]
    again = reconstruct(None, files, tmp_path, method="cg-sense")
    assert [result.skipped for result in again] == [True, True]
    other = reconstruct(None, files, tmp_path, method="cg-sense", strength=0.5)
    assert [result.skipped for result in other] == [False, False]
    (tmp_path / f"{files[0].stem}.png").unlink()
    assert [r.skipped for r in reconstruct(None, files, tmp_path, method="cg-sense", strength=0.5)] == [False, True]
    document = json.loads((tmp_path / "manifest.json").read_text())
    assert set(document["files"]) == {path.stem for path in files}
    assert not list(tmp_path.glob(".*")), "temporary files must not stay"


def _broken(kind: str, good: Path, path: Path) -> None:
    shutil.copy(good, path)
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif kind == "text":
        path.write_text("no HDF5")
    elif kind == "missing":
        path.unlink()
    elif kind == "loop":
        path.unlink()
        path.symlink_to(path.name)
    else:
        with h5py.File(path, "r+") as file:
            if kind == "no mask":
                del file["mask"]
            elif kind == "nan":
                file["kspace"][1] = np.nan
            elif kind == "long mask":
                del file["mask"]
                file["mask"] = np.ones(99, np.float32)
            elif kind == "order":
                kspace = np.asarray(file["kspace"]).transpose(2, 3, 0, 1)
                del file["kspace"]
                file["kspace"] = kspace


@pytest.mark.parametrize("kind", ["truncated", "text", "missing", "loop", "no mask", "nan", "long mask", "order"])
def test_a_bad_file_is_named_and_the_others_are_kept(scans: Path, tmp_path: Path, kind: str) -> None:
    good = _files(scans)
    bad = tmp_path / "bad.h5"
    _broken(kind, good[0], bad)
    out = tmp_path / "out"
    with pytest.raises(InputError, match=r"1 of 3 cases failed: .*bad\.h5") as caught:
        reconstruct(None, [good[0], bad, good[1]], out, method="zero-filled")
    assert "\n" not in str(caught.value)
    assert all((out / f"{path.stem}.nii.gz").is_file() for path in good)
    assert not (out / "bad.nii.gz").exists()


@pytest.mark.parametrize("other", ["{}.h5", "{}_deviation.h5"])
def test_cases_that_would_overwrite_each_other_fail_and_the_others_do_not(
    scans: Path, tmp_path: Path, other: str
) -> None:
    good, path = _files(scans)[:2]
    namesake = tmp_path / other.format(path.stem)
    shutil.copy(path, namesake)
    with pytest.raises(PartlyDone, match=r"2 of 3 cases failed.*both be written.*both be written") as caught:
        reconstruct(None, [path, good, namesake], tmp_path / "out", method="zero-filled")
    assert [result.source for result in caught.value.done] == [good]
    assert f"{path}: " in str(caught.value)
    assert f"{namesake}: " in str(caught.value)
    manifest = (tmp_path / "out" / "manifest.json").read_text()
    assert str(tmp_path) not in manifest
    assert str(scans) not in manifest, "folders may be called after patients"


def test_a_file_that_is_named_twice_is_one_input(scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _files(scans)[0]
    monkeypatch.chdir(path.parent)
    results = reconstruct(None, [path, Path(path.name)], tmp_path / "out", method="zero-filled")
    assert [result.source for result in results] == [path]


def test_inpainting_is_refused_before_anything_is_done(scans: Path, tmp_path: Path) -> None:
    path = _files(scans)[0]
    with pytest.raises(InputError, match="does not reconstruct k-space"):
        reconstruct(None, [path], tmp_path / "out", method="biharmonic")
    assert not (tmp_path / "out").exists()


def test_a_strange_manifest_is_refused(scans: Path, tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("[]")
    with pytest.raises(InputError, match="manifest"):
        reconstruct(None, _files(scans), tmp_path, method="zero-filled")


def test_files_with_nan_where_nothing_was_measured_give_the_same_images(scans: Path, tmp_path: Path) -> None:
    path = _files(scans)[0]
    poisoned = tmp_path / path.name
    shutil.copy(path, poisoned)
    with h5py.File(poisoned, "r+") as file:
        unmeasured = np.asarray(file["mask"]) == 0
        kspace = np.asarray(file["kspace"])
        kspace[..., unmeasured] = np.nan
        file["kspace"][...] = kspace
    images = []
    for source, out in ((path, tmp_path / "a"), (poisoned, tmp_path / "b")):
        reconstruct(None, [source], out, method="tv")
        with h5py.File(out / path.name) as file:
            images.append(np.asarray(file["reconstruction"]))
    assert np.array_equal(*images)


def test_disks_that_fill_up_stop_the_batch(scans: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def full(path: Path, *_: object, **__: object) -> None:
        calls.append(path)
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(outputs, "write_nifti", full)
    with pytest.raises(OSError, match="No space left"):
        reconstruct(None, _files(scans), tmp_path / "out", method="zero-filled")
    assert len(calls) == 1


def test_one_step_with_a_bundle(scans: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    results = reconstruct(str(tiny_bundle), [str(p) for p in _files(scans)], str(tmp_path), progress=lines.append)
    assert [r.skipped for r in results] == [False, False]
    assert any("48 x 48" in warning for warning in results[0].warnings), "the model was trained on 64 x 64"
    assert any("R = 2" in warning for warning in results[0].warnings), "the model was trained at R = 4"
    assert any(line.startswith("warning: ") for line in lines)
    with h5py.File(tmp_path / _files(scans)[0].name) as file:
        assert np.isfinite(np.asarray(file["reconstruction"])).all()
        assert file.attrs["model_trained_on"] == "brain_demo"
        assert len(file.attrs["bundle_sha256"]) == 64


DRAWN = ["--samples", "2", "--nfe", "2"]


@pytest.mark.parametrize(
    ("model", "asked", "method", "sampler"),
    [("brain_flair_64", [], "one-step", "a-fill"), ("brain_128_refined", DRAWN, "mmps", "mmps")],
)
def test_a_model_is_used_with_what_it_is_made_for(
    scans: Path, tmp_path: Path, model: str, asked: list[str], method: str, sampler: str
) -> None:
    path = _files(scans)[0]
    assert main(["reconstruct", model, str(path), "--out", str(tmp_path), *asked]) == 0
    with h5py.File(tmp_path / path.name) as file:
        assert file.attrs["method"] == method
    assert methods.default_method(located(model)) == method
    assert methods.default_method(located(model), "a-fill") == sampler


def test_without_a_method_or_a_refined_model_it_is_one_step(scans: Path, tmp_path: Path) -> None:
    path = _files(scans)[0]
    assert methods.default_method(None) == "one-step"
    command = ["reconstruct", "brain_flair_64", str(path), "--out", str(tmp_path), *DRAWN]
    assert main(command) == 2, "one step draws no samples"


def test_scans_of_mixed_sizes_share_a_job_and_one_model(
    tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads, load = [], methods.load
    monkeypatch.setattr(methods, "load", lambda *given: loads.append(given) or load(*given))
    rng, shapes = np.random.default_rng(0), {"a": (2, 3, 48, 40), "b": (1, 1, 61, 57), "c": (3, 2, 32, 70)}
    for name, shape in shapes.items():
        mask = np.zeros(shape[-1], np.float32)
        mask[[1, 5, *range(shape[-1] // 2 - 6, shape[-1] // 2 + 6), shape[-1] - 4, shape[-1] - 2]] = 1
        kspace = (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["kspace"], file["mask"], file.attrs["noise_std"] = kspace * mask, mask, 0.1
    results = reconstruct(tiny_bundle, sorted(tmp_path.glob("*.h5")), tmp_path / "out", formats=["hdf5"])
    assert len(loads) == 1
    for result, (slices, _, *size) in zip(results, shapes.values(), strict=True):
        with h5py.File(result.outputs[0]) as file:
            assert file["reconstruction"].shape == (slices, *size)


def test_a_model_is_needed_for_one_step(scans: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs a trained bundle"):
        reconstruct(None, _files(scans), tmp_path)
    with pytest.raises(InputError, match="bundle"):
        reconstruct(tmp_path, _files(scans), tmp_path / "out")


def test_no_result_takes_the_place_of_a_scan_or_of_a_folder(scans: Path, tmp_path: Path) -> None:
    scan = tmp_path / "scan.h5"
    shutil.copy(_files(scans)[0], scan)
    before = scan.read_bytes()
    for out in (tmp_path, tmp_path / "nowhere" / ".."):
        with pytest.raises(InputError, match="would take the place of a scan"):
            reconstruct(None, [scan], out, method="zero-filled")
    assert scan.read_bytes() == before
    assert not (tmp_path / "manifest.json").exists()
    kept = tmp_path / "out" / "scan_dicom" / "notes.txt"
    kept.parent.mkdir(parents=True)
    kept.write_text("mine")
    with pytest.raises(InputError, match="a folder that holds something else"):
        reconstruct(None, [scan], tmp_path / "out", method="zero-filled", formats=["dicom"])
    assert kept.read_text() == "mine"


def test_another_scan_of_the_same_name_does_not_replace_a_result(scans: Path, tmp_path: Path) -> None:
    one, other = tmp_path / "a" / "scan.h5", tmp_path / "b" / "scan.h5"
    for source, path in zip(_files(scans), (one, other), strict=True):
        path.parent.mkdir()
        shutil.copy(source, path)
    reconstruct(None, [one], tmp_path / "out", method="zero-filled")
    before = (tmp_path / "out" / "scan.h5").read_bytes()
    with pytest.raises(InputError, match="another scan was written under this name"):
        reconstruct(None, [other], tmp_path / "out", method="zero-filled")
    assert (tmp_path / "out" / "scan.h5").read_bytes() == before
    shutil.copy(other, one)  # the file itself has changed: done anew
    (result,) = reconstruct(None, [one], tmp_path / "out", method="zero-filled")
    assert not result.skipped
    moved = tmp_path / "scan.h5"
    shutil.move(one, moved)  # the same content elsewhere: done already
    assert reconstruct(None, [moved], tmp_path / "out", method="zero-filled")[0].skipped


def test_jobs_of_one_folder_keep_each_others_entries(tmp_path: Path) -> None:
    entry = {"key": "k", "outputs": [], "source_sha256": "", "slices": 1, "seconds": 0.0, "warnings": []}
    one, other = Manifest(tmp_path), Manifest(tmp_path)
    one.record("a", entry)
    other.record("b", entry)
    assert set(Manifest(tmp_path).entries) == {"a", "b"}
    (tmp_path / "manifest.json").write_text('{"files": {"a": 3}}')
    with pytest.raises(InputError, match="not a manifest"):
        Manifest(tmp_path)


def test_what_an_unreadable_input_is_called_names_nobody(scans: Path, tmp_path: Path) -> None:
    bad = tmp_path / "MUELLER_JUERGEN_19500101"
    bad.write_bytes(b"nothing that is known")
    with pytest.raises(InputError):
        reconstruct(None, [bad, *_files(scans)[:1]], tmp_path / "out", method="zero-filled")
    assert "MUELLER" not in (tmp_path / "out" / "manifest.json").read_text()


def test_a_name_that_is_not_utf_8_is_reconstructed_and_resumed(scans: Path, tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/M\xfcller.h5"))
    shutil.copy(_files(scans)[0], path)
    for skipped in (False, True):
        said: list[str] = []  # not logged: the name cannot be sent between processes of tests
        (result,) = reconstruct(None, [path], tmp_path / "out", method="zero-filled", progress=said.append)
        assert result.skipped == skipped
        assert said

"""Raw data of other formats than fastMRI, from file to file: places, noise, 3-D, BART with its pattern, many cases."""

from __future__ import annotations

import json
import math
import os
import pickle
import shutil
import subprocess
from pathlib import Path
from typing import Any

import h5py
import nibabel as nib
import numpy as np
import pytest
import torch

from ambient_mri.cli import main
from ambient_mri.data.cohort import subject
from ambient_mri.data.readers.content import open_kspace
from ambient_mri.data.readers.dicom import open_volumes
from ambient_mri.data.readers.dicom_files import find_files
from ambient_mri.data.readers.magnitude import Missing
from ambient_mri.data.readers.nifti import RAS_TO_LPS
from ambient_mri.data.simulation import birdcage_maps
from ambient_mri.errors import InputError
from ambient_mri.fourier import fft1c, fft2c
from ambient_mri.randomness import stream
from ambient_mri.reconstruction.batch import reconstruct
from ambient_mri.reconstruction.cases import Case, find_cases
from ambient_mri.reconstruction.layout import bids

SIZE, SLICES = 48, 3
READ, PHASE, NORMAL = np.linalg.qr(np.random.default_rng(3).standard_normal((3, 3)))[0].T
CENTRE = np.array([12.0, -30.0, 7.0])
SPACE = (
    "<matrixSize><x>{0}</x><y>{1}</y><z>{2}</z></matrixSize>"
    "<fieldOfView_mm><x>{3}</x><y>{4}</y><z>{5}</z></fieldOfView_mm>"
)


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    """`(slices, readout, phase)`."""
    return np.abs(subject(5, size=SIZE, slices=SLICES).images.numpy())


def _write(path: Path, images: np.ndarray, lines: list[int], *, three_d: bool) -> Path:
    """By the reference library: readout twice oversampled, coloured noise and a noise scan, oblique slices."""
    ismrmrd = pytest.importorskip("ismrmrd", reason="the extra 'mrd' is not installed")
    rng = np.random.default_rng(0)
    padded = np.pad(images, ((0, 0), (SIZE // 2, SIZE // 2), (0, 0)))
    maps = birdcage_maps(4, (2 * SIZE, SIZE), torch.Generator().manual_seed(1))
    kspace = fft2c(maps * torch.from_numpy(padded)[:, None].to(torch.complex64))  # (slices, coils, readout, phase)
    if three_d:
        kspace = fft1c(kspace.transpose(0, -1)).transpose(0, -1)
    mixing = np.eye(4) + 0.5 * rng.standard_normal((4, 4))

    def noise(count: int) -> np.ndarray:
        return 0.004 * mixing @ (rng.standard_normal((4, count)) + 1j * rng.standard_normal((4, count)))

    file = ismrmrd.Dataset(str(path), "dataset", create_if_needed=True)
    depth = SLICES if three_d else 1
    thickness = 5 * depth
    encoded, recon = (SPACE.format(n, SIZE, depth, 4 * n, 4 * SIZE, thickness) for n in (2 * SIZE, SIZE))
    start = '<?xml version="1.0"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD"><encoding>'
    spaces = f"<encodedSpace>{encoded}</encodedSpace><reconSpace>{recon}</reconSpace>"
    file.write_xml_header(f"{start}{spaces}<trajectory>cartesian</trajectory></encoding></ismrmrdHeader>".encode())
    scan = ismrmrd.Acquisition.from_array(noise(4000).astype(np.complex64))
    scan.set_flag(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
    file.append_acquisition(scan)
    for s in np.random.default_rng(1).permutation(SLICES):
        for line in lines:
            samples = kspace[s, :, :, line].numpy() + noise(2 * SIZE)
            row = ismrmrd.Acquisition.from_array(samples.astype(np.complex64))
            row.center_sample, row.idx.kspace_encode_step_1 = SIZE, line
            row.read_dir[:], row.phase_dir[:], row.slice_dir[:], row.position[:] = READ, PHASE, NORMAL, CENTRE
            if three_d:
                row.idx.kspace_encode_step_2 = s
            else:
                row.idx.slice = s
                row.position[:] = CENTRE + 5 * s * NORMAL
            file.append_acquisition(row)
    file.close()
    return path


LINES = sorted({*range(0, SIZE, 2), *range(SIZE // 2 - 8, SIZE // 2 + 8)})


@pytest.mark.parametrize("three_d", [False, True], ids=["slices", "3-D"])
def test_mrd_becomes_dicom_and_nifti_of_one_place(
    truth: np.ndarray, dcm2niix: str, tmp_path: Path, three_d: bool
) -> None:
    path = _write(tmp_path / "scan.h5", truth, LINES, three_d=three_d)
    out = tmp_path / "out"
    (result,) = reconstruct(None, [path], out, method="cg-sense", formats=["dicom", "nifti", "hdf5"])
    assert result.slices == SLICES
    with h5py.File(out / "scan.h5") as file:
        image = np.asarray(file["reconstruction"])
        assert file.attrs["noise_std"] == pytest.approx(1, rel=0.01), "whitened by the noise scan"
    image = image * (image * truth).sum() / (image**2).sum()  # whitening changed the unit
    assert np.linalg.norm(image - truth) / np.linalg.norm(truth) < 0.15
    ours = nib.load(out / "scan.nii.gz")
    first = 0 if not three_d else SLICES // 2  # position is that of the centre of a slab
    centre = RAS_TO_LPS @ ours.affine @ [SIZE // 2, SIZE // 2, first, 1]
    assert np.allclose(centre[:3], CENTRE, atol=1e-3)
    words = ["-b", "n", "-z", "n", "-f", "theirs", "-o", str(tmp_path), str(out / "scan_dicom")]
    subprocess.run([dcm2niix, *words], check=True, capture_output=True)
    theirs = nib.as_closest_canonical(nib.load(tmp_path / "theirs.nii"))
    assert np.allclose(theirs.affine, nib.as_closest_canonical(ours).affine, atol=2e-3)
    (series,), problems = open_volumes(find_files(out / "scan_dicom"))
    assert problems == []
    values = np.stack([series.read(i) for i in range(SLICES)]).transpose(2, 1, 0)
    back = nib.as_closest_canonical(nib.Nifti1Image(values, RAS_TO_LPS @ series.affine))
    assert np.allclose(back.affine, nib.as_closest_canonical(ours).affine, atol=1e-4)
    assert np.corrcoef(back.get_fdata().ravel(), nib.as_closest_canonical(ours).get_fdata().ravel())[0, 1] > 0.9999


def test_three_dimensional_cases_are_in_memory_one_at_a_time(tmp_path: Path, truth: np.ndarray) -> None:
    paths = [_write(tmp_path / f"scan{n}.h5", truth, LINES, three_d=True) for n in range(2)]
    cases, problems = find_cases(paths)
    assert problems == []
    assert [case.deferred for case in cases] == [True, True]
    volume = cases[0].volume
    assert not hasattr(volume, "samples"), "no samples yet"
    with pytest.raises(ValueError, match="before its samples were read"):
        volume.read(0, torch.ones(1, SIZE, dtype=torch.bool))
    wire = pickle.dumps(cases[0])  # as Dask sends it
    assert len(wire) < 16 * 1024 < 8 * math.prod(volume.shape), "the facts, not an array of the size of the samples"
    assert pickle.loads(wire).opened().volume.shape == volume.shape
    opened = cases[0].opened()
    assert opened.volume.shape == volume.shape
    assert np.isfinite(opened.volume.samples).all()  # type: ignore[union-attr]
    assert not opened.deferred


def test_raw_data_of_unknown_place_give_no_dicom(tmp_path: Path, truth: np.ndarray) -> None:
    path = _write(tmp_path / "scan.h5", truth, LINES, three_d=False)
    with h5py.File(path, "r+") as file:
        rows = file["dataset/data"][:]
        rows["head"]["read_dir"] = 0
        file["dataset/data"][...] = rows
    with pytest.raises(InputError, match="where its slices lie"):
        reconstruct(None, [path], tmp_path / "out", method="zero-filled", formats=["dicom"])
    assert not list((tmp_path / "out").rglob("*.dcm"))


def test_a_real_acquisition_in_barts_format(real_data: Path, tmp_path: Path) -> None:
    """Eight coils, both axes phase-encoded: against sigpy's own reconstruction with its own maps."""
    import sigpy.mri as mri

    kspace = np.load(real_data / "kspace" / "sigpy_brain8_poisson_230x180.npy")
    pattern = np.abs(kspace).sum(0) > 0  # stated by its publishers: what is 0 was not sampled
    for name, array in (("brain", kspace.transpose(1, 2, 0)[None]), ("pattern", pattern[None])):
        (tmp_path / f"{name}.hdr").write_text("# Dimensions\n" + " ".join(map(str, array.shape)) + "\n")
        array.astype("<c8").ravel(order="F").tofile(tmp_path / f"{name}.cfl")
    words = ["reconstruct", "none", str(tmp_path / "brain.cfl"), "--out", str(tmp_path / "out"), "--format", "hdf5"]
    assert main([*words, "--method", "cg-sense"]) == 2, "nobody said what was measured"
    words += ["--mask", str(tmp_path / "pattern.cfl"), "--method", "cg-sense", "--strength", "0.01"]
    assert main(words) == 0
    with h5py.File(tmp_path / "out" / "brain.h5") as file:
        ours = np.asarray(file["reconstruction"])[0].T  # slices lie along the readout: (second, first phase encode)
        assert file.attrs["acceleration"] == pytest.approx(1 / pattern.mean())
    maps = mri.app.EspiritCalib(kspace, show_pbar=False).run()
    theirs = np.abs(mri.app.SenseRecon(kspace, maps, lamda=0.01, show_pbar=False, max_iter=30).run())
    inside = np.abs(maps).sum(0) > 0
    assert np.corrcoef(ours[inside], theirs[inside])[0, 1] > 0.97


def test_two_hundred_cases_of_which_ten_are_damaged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    mask = np.zeros(16, np.float32)
    mask[[1, 3, 6, 7, 8, 9, 12]] = 1
    for number in range(200):
        kspace = (rng.standard_normal((1, 1, 16, 16)) + 1j * rng.standard_normal((1, 1, 16, 16))).astype(np.complex64)
        if number % 20 == 7:
            kspace[0, 0, 4, 8] = np.nan
        with h5py.File(tmp_path / f"scan{number:03d}.h5", "w") as file:
            file["kspace"], file["mask"], file.attrs["noise_std"] = kspace * mask, mask, 0.01
    out = tmp_path / "out"
    words = ["reconstruct", "none", *map(str, sorted(tmp_path.glob("*.h5"))), "--out", str(out)]
    assert main([*words, "--method", "zero-filled", "--format", "nifti"]) == 3
    last = capsys.readouterr().err.splitlines()[-1]
    assert "10 of 200 cases failed" in last
    assert all(f"scan{number:03d}.h5" in last for number in range(7, 200, 20))
    assert len(list(out.glob("*.nii.gz"))) == 190
    assert len(json.loads((out / "manifest.json").read_text())["files"]) == 190


def _write_bart(stem: Path, samples: np.ndarray) -> None:
    samples.astype("<c8").ravel(order="F").tofile(stem.with_name(stem.name + ".cfl"))
    stem.with_name(stem.name + ".hdr").write_text(f"# Dimensions\n{' '.join(map(str, samples.shape))}\n")


def _small(path: Path, **attributes: object) -> Path:
    """A scan of fastMRI's layout that is quickly worked on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        file["kspace"] = (rng.standard_normal((1, 1, 16, 16)) + 1j * rng.standard_normal((1, 1, 16, 16))).astype("c8")
        file["mask"] = np.ones(16, bool)
        file.attrs.update({"noise_std": 0.01, **attributes})
    return path


def test_a_file_that_cannot_be_opened_spoils_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [_small(tmp_path / "good.h5"), _small(tmp_path / "text.h5", noise_std="abc")]
    group = tmp_path / "group.h5"
    with h5py.File(group, "w") as file:
        file.create_group("kspace")
    surprise = _small(tmp_path / "surprise.h5")
    monkeypatch.setattr(
        "ambient_mri.reconstruction.cases.open_kspace",
        lambda path, mask: {}["fault of the program"] if path == surprise else open_kspace(path, mask),
    )
    words = ["reconstruct", "none", *map(str, [*files, group, surprise]), "--method", "zero-filled"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 3
    last = capsys.readouterr().err.splitlines()[-1]
    assert "3 of 4 cases failed" in last
    assert f"{surprise}: unexpected KeyError" in last
    assert (tmp_path / "out" / "good.nii.gz").is_file()


def test_the_halves_of_a_bart_pair_are_one_input(tmp_path: Path) -> None:
    _write_bart(tmp_path / "scan", np.ones((16, 16, 1, 2), np.complex64))
    (tmp_path / "sub").mkdir()
    cases, problems = find_cases([*sorted(tmp_path.glob("scan.*")), tmp_path / "sub" / ".." / "scan"])
    assert problems == []
    assert [case.path for case in cases] == [tmp_path / "scan.cfl"]


def _runs(out: Path, inputs: list[Path], method: str, **asked: Any) -> bool:
    """Whether a case was worked on, and not taken from before."""
    (result,) = reconstruct(None, inputs, out, method=method, formats=["hdf5"], **asked)
    return not result.skipped


@pytest.mark.parametrize("name", ["pattern", "pattern.cfl", "pattern.hdr"])
def test_both_halves_of_bart_files_count_when_a_batch_goes_on(tmp_path: Path, name: str) -> None:
    rng, out, scan, mask = np.random.default_rng(0), tmp_path / "out", tmp_path / "scan.cfl", tmp_path / name
    samples = rng.standard_normal((16, 16, 1, 2, 2))
    _write_bart(tmp_path / "scan", samples.reshape(16, 16, 1, 2, *9 * [1], 2))
    _write_bart(tmp_path / "pattern", np.ones((1, 16)))
    missing = Missing(mask=mask)
    assert _runs(out, [scan], "zero-filled", missing=missing)
    assert not _runs(out, [scan], "zero-filled", missing=missing)
    _write_bart(tmp_path / "pattern", np.arange(16)[None] > 3)
    assert _runs(out, [scan], "zero-filled", missing=missing)
    header = tmp_path / "scan.hdr"
    header.write_text(f"# Dimensions\n16 16 1 1 {'1 ' * 9}4\n")  # the same samples, of other coils and slices
    assert _runs(out, [scan], "zero-filled", missing=missing)
    assert not _runs(out, [scan], "zero-filled", missing=missing)


@pytest.mark.parametrize("part", ["images", "mask"])
def test_both_halves_of_nifti_pairs_count_when_a_batch_goes_on(tmp_path: Path, part: str) -> None:
    rng = np.random.default_rng(0)
    kept = np.ones((12, 12, 1), np.float32)
    kept[4:6, 4:6] = 0
    written = {"images": rng.random((12, 12, 1)).astype(np.float32), "mask": kept}
    for name, values in written.items():
        nib.save(nib.Nifti1Pair(values, np.eye(4)), tmp_path / f"{name}.hdr")
    asked = {"missing": Missing(mask=tmp_path / "mask.hdr")}
    assert _runs(tmp_path / "out", [tmp_path / "images.hdr"], "biharmonic", **asked)
    assert not _runs(tmp_path / "out", [tmp_path / "images.hdr"], "biharmonic", **asked)
    nib.save(nib.Nifti1Pair(written[part][::-1].copy(), np.eye(4)), tmp_path / f"{part}.hdr")  # other samples only
    assert _runs(tmp_path / "out", [tmp_path / "images.hdr"], "biharmonic", **asked)


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    path = _small(Path(os.fsdecode(bytes(tmp_path / "M") + b"\xfcller.h5")))
    ((case,), problems) = find_cases([path])
    assert problems == []
    assert case.label == "M\\xfcller.h5"
    assert len(Case("M\udcfc_repetition1", case.volume, "kspace").sha256()) == 64
    assert bids(case.name)("nifti").startswith("sub-")
    assert stream(0, "noise", case.name).initial_seed() != stream(0, "noise", "M").initial_seed()


@pytest.mark.parametrize(
    ("words", "within"), [((), 0.005), (("-C",), 0.025), (("-C", "-a", "2", "-w", "24"), 0.05)],
    ids=["fully sampled", "with a noise scan", "with a noise scan, R=2"],
)  # fmt: skip
def test_images_from_file_to_file_are_those_of_the_reference_reconstruction(
    tmp_path: Path, words: tuple[str, ...], within: float
) -> None:
    """Readout twice oversampled, 8 coils, by ismrmrd's own generator; and its reconstruction of all lines.

    A noise scan of 128 samples gives coils other weights than the root of the sum of squares, which ignores it.
    """
    programs = {
        name: shutil.which(f"ismrmrd_{name}") for name in ("generate_cartesian_shepp_logan", "recon_cartesian_2d")
    }
    if None in programs.values():
        pytest.skip("the reference tools are not installed (Debian: ismrmrd-tools)")
    generate, recon = map(str, programs.values())
    options = ["-m", "96", "-c", "8", "-n", "0.0005"]
    for name, more in (("full", ()), ("scan", words)):
        subprocess.run([generate, *options, *more, "-o", str(tmp_path / f"{name}.h5")], check=True, capture_output=True)
    subprocess.run([recon, str(tmp_path / "full.h5")], check=True, capture_output=True)
    with h5py.File(tmp_path / "full.h5") as file:
        theirs = np.abs(np.asarray(file["dataset/cpp/data"], np.float64).squeeze()).T
    results = reconstruct(None, [tmp_path / "scan.h5"], tmp_path / "out", method="cg-sense", formats=["hdf5"])
    assert len(results) == (2 if "-a" in words else 1), "the generator writes as many repetitions as the acceleration"
    for result in results:
        with h5py.File(result.outputs[0]) as file:
            ours = np.asarray(file["reconstruction"], np.float64)[0]
            assert (file.attrs["noise_std"] == pytest.approx(1)) == ("-C" in words), "whitened by the noise scan"
        ours *= (ours * theirs).sum() / (ours**2).sum()  # whitening changed the unit
        error = np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)
        assert error < within, error

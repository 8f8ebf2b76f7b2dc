"""MRD and BART files against their own libraries and tools: samples, masks, noise, geometry, damage."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from ambient_mri.data.acquired import MeasuredVolume
from ambient_mri.data.readers import bart, mrd
from ambient_mri.data.readers.content import kind, open_kspace
from ambient_mri.data.readers.image_reader import KspaceReader
from ambient_mri.data.readers.kspace import sliced
from ambient_mri.data.readers.mrd_volume import prewhitened
from ambient_mri.errors import InputError
from ambient_mri.fourier import fft1c, fft2c, ifft2c

ismrmrd = pytest.importorskip("ismrmrd", reason="the extra 'mrd' is not installed")

COILS, READOUT, LINES = 3, 32, 18
XML = """<?xml version="1.0"?><ismrmrdHeader xmlns="http://www.ismrm.org/ISMRMRD">
<subjectInformation><patientName>SENTINEL^NAME</patientName><patientID>SENTINEL-ID</patientID></subjectInformation>
<acquisitionSystemInformation><relativeReceiverNoiseBandwidth>0.8</relativeReceiverNoiseBandwidth>
</acquisitionSystemInformation>
<experimentalConditions><H1resonanceFrequency_Hz>123000000</H1resonanceFrequency_Hz></experimentalConditions>
<encoding><encodedSpace><matrixSize><x>{readout}</x><y>{lines}</y><z>{partitions}</z></matrixSize>
<fieldOfView_mm><x>64</x><y>54</y><z>{fov_z}</z></fieldOfView_mm></encodedSpace>
<reconSpace><matrixSize><x>{half}</x><y>{lines}</y><z>{partitions}</z></matrixSize>
<fieldOfView_mm><x>32</x><y>54</y><z>{fov_z}</z></fieldOfView_mm></reconSpace>
<encodingLimits><kspace_encoding_step_1><minimum>0</minimum><maximum>{last}</maximum><center>{centre}</center>
</kspace_encoding_step_1><kspace_encoding_step_2><minimum>0</minimum><maximum>{last_z}</maximum><center>{centre_z}</center>
</kspace_encoding_step_2></encodingLimits><trajectory>{trajectory}</trajectory>
<parallelImaging><accelerationFactor><kspace_encoding_step_1>2</kspace_encoding_step_1>
<kspace_encoding_step_2>1</kspace_encoding_step_2></accelerationFactor><calibrationMode>{calibration}</calibrationMode>
</parallelImaging></encoding></ismrmrdHeader>"""

READ, PHASE, NORMAL = np.linalg.qr(np.random.default_rng(7).standard_normal((3, 3)))[0].T
Write = Callable[..., Path]


def _complex(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return (rng.standard_normal(shape) + 1j * rng.standard_normal(shape)).astype(np.complex64)


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """`write(kspace (slices, c, z, y, x), lines=…)` by the reference library; returns the path."""

    def make(
        kspace: np.ndarray, *, lines: Sequence[int] = range(LINES), steps: Sequence[tuple[int, int]] | None = None,
        positions: Sequence[np.ndarray] | None = None, noise: np.ndarray | None = None,
        dwell: tuple[float, float] = (4, 2),
        trajectory: str = "cartesian", calibration: str = "embedded", calibration_lines: Sequence[int] = (),
        averages: Sequence[np.ndarray] | None = None, repetitions: int = 1, flags: Sequence[int] = (),
        centre: int | None = None, first_sample: int = 0, name: str = "scan.h5",
    ) -> Path:  # fmt: skip
        path = tmp_path / name
        slices, _, partitions, readout, count = kspace.shape
        file = ismrmrd.Dataset(str(path), "dataset", create_if_needed=True)
        file.write_xml_header(
            XML.format(
                readout=readout, half=readout // 2, lines=count, partitions=partitions, last=count - 1,
                fov_z=5 * partitions, centre=count // 2 if centre is None else centre, last_z=partitions - 1,
                centre_z=partitions // 2, trajectory=trajectory, calibration=calibration,
            ).encode()
        )  # fmt: skip
        if noise is not None:
            scan = ismrmrd.Acquisition.from_array(noise)
            scan.set_flag(ismrmrd.ACQ_IS_NOISE_MEASUREMENT)
            scan.sample_time_us = dwell[0]
            file.append_acquisition(scan)
        grid = [(z, x) for z in range(partitions) for x in lines] if steps is None else steps
        for repetition in range(repetitions):
            for s in range(slices):
                for z, x in grid:
                    parts = [kspace[s, :, z, first_sample:, x]] if averages is None else averages
                    for number, values in enumerate(parts):
                        line = ismrmrd.Acquisition.from_array(np.ascontiguousarray(values * (repetition + 1)))
                        line.center_sample = readout // 2 - first_sample
                        line.sample_time_us = dwell[1]
                        line.idx.slice, line.idx.kspace_encode_step_1, line.idx.kspace_encode_step_2 = s, x, z
                        line.idx.average, line.idx.repetition = number, repetition
                        for flag in flags:
                            line.set_flag(flag)
                        if x in calibration_lines:
                            line.set_flag(ismrmrd.ACQ_IS_PARALLEL_CALIBRATION)
                        if positions is not None:
                            line.position[:], line.read_dir[:] = positions[s], READ
                            line.phase_dir[:], line.slice_dir[:] = PHASE, NORMAL
                        file.append_acquisition(line)
        file.close()
        return path

    return make


def test_samples_and_mask_are_those_recorded(write: Write) -> None:
    kspace = _complex(np.random.default_rng(0), 2, COILS, 1, READOUT, LINES)
    kspace[:, :, :, :, 4] = 0  # measured, and zero: not the same as not measured
    lines = [1, 4, 8, 9, 10, 15]
    (volume,) = open_kspace(write(kspace, lines=lines))
    assert kind(volume.path) == "mrd"
    assert volume.shape == (2, COILS, READOUT, LINES)
    assert volume.mask is not None
    assert volume.mask[0].nonzero().flatten().tolist() == lines
    for index in range(2):
        read = volume.read(index, volume.mask).numpy()
        assert np.array_equal(read[..., lines], kspace[index, :, 0][..., lines])
        assert not read[..., [i for i in range(LINES) if i not in lines]].any()
    assert volume.noise_std is None
    assert volume.affine is None, "no directions in the file: the geometry is not known"


def test_partial_fourier_lines_and_asymmetric_echoes_keep_their_places(write: Write) -> None:
    kspace = _complex(np.random.default_rng(1), 1, COILS, 1, READOUT, LINES)
    (volume,) = open_kspace(write(kspace, lines=range(5), centre=2, first_sample=6))
    assert volume.mask is not None
    assert volume.mask.shape == (READOUT, LINES)
    read = volume.read(0, volume.mask).numpy()
    assert np.array_equal(read[:, 6:, 7:12], kspace[0, :, 0, 6:, :5]), "the line called centre lies at n//2 = 9"
    assert not read[:, :6].any()
    assert int(volume.mask.sum()) == (READOUT - 6) * 5


def test_a_noise_scan_whitens_the_coils_and_gives_sigma(write: Write) -> None:
    rng = np.random.default_rng(2)
    mixing = _complex(rng, COILS, COILS) * np.array([[1], [20], [0.1]])
    white = lambda *shape: mixing @ _complex(rng, COILS, int(np.prod(shape))) / np.sqrt(0.5)  # noqa: E731
    # noise of an image sample: bandwidth of the image over that of the noise scan, over the filter's share
    factor = (4 / 2 / 0.8) ** 0.5
    kspace = (factor * white(READOUT, LINES)).reshape(1, COILS, 1, READOUT, LINES).astype(np.complex64)
    (volume,) = open_kspace(write(kspace, noise=white(20000).astype(np.complex64)))
    assert volume.noise_std == pytest.approx(factor)
    assert volume.mask is not None
    read = volume.read(0, volume.mask).reshape(COILS, -1)
    covariance = (read @ read.mH / (2 * read.shape[1])).numpy()
    assert np.allclose(covariance / volume.noise_std**2, np.eye(COILS), atol=0.2)


def test_averages_are_means_and_lower_sigma(write: Write) -> None:
    rng = np.random.default_rng(3)
    noise = _complex(rng, COILS, 400)
    line = _complex(rng, COILS, READOUT)
    kspace = np.zeros((1, COILS, 1, READOUT, LINES), np.complex64)
    (volume,) = open_kspace(write(kspace, lines=[9], averages=[line, 3 * line, 2 * line], noise=noise, dwell=(0, 0)))
    assert volume.noise_std == pytest.approx((1 / 0.8 / 3) ** 0.5)
    expected = prewhitened(torch.from_numpy(2 * line), torch.from_numpy(noise))
    assert torch.allclose(volume.read(0, torch.ones(1, LINES, dtype=torch.bool))[..., 9], expected, atol=1e-5)


@pytest.mark.parametrize(("mode", "expected"), [("embedded", [2, 9, 10]), ("separate", [2])])
def test_calibration_lines_count_only_where_they_belong_to_the_image(
    write: Write, mode: str, expected: list[int]
) -> None:
    kspace = _complex(np.random.default_rng(4), 1, COILS, 1, READOUT, LINES)
    path = write(kspace, lines=[2, 9, 10], calibration=mode, calibration_lines=[9, 10])
    (volume,) = open_kspace(path)
    assert volume.mask is not None
    assert volume.mask[0].nonzero().flatten().tolist() == expected


def test_repetitions_are_volumes_of_their_own(write: Write) -> None:
    kspace = _complex(np.random.default_rng(5), 1, COILS, 1, READOUT, LINES)
    volumes = open_kspace(write(kspace, repetitions=2))
    assert [volume.name for volume in volumes] == ["scan_repetition0", "scan_repetition1"]
    everything = torch.ones(1, LINES, dtype=torch.bool)
    assert torch.allclose(volumes[1].read(0, everything), 2 * volumes[0].read(0, everything))


def test_slices_are_sorted_by_position_and_have_an_affine(write: Write) -> None:
    kspace = _complex(np.random.default_rng(6), 3, COILS, 1, READOUT, LINES)
    corner = np.array([5.0, -7.0, 11.0])
    positions = [corner + place * 6 * NORMAL for place in (2, 0, 1)]
    (volume,) = open_kspace(write(kspace, positions=positions))
    everything = torch.ones(1, LINES, dtype=torch.bool)
    assert np.array_equal(volume.read(0, everything).numpy(), kspace[1, :, 0]), "the lowest slice comes first"
    affine = volume.affine
    assert affine is not None
    assert np.allclose(affine[:3, 0], PHASE * 3)  # 54 mm over 18 lines
    assert np.allclose(affine[:3, 1], READ * 2)
    assert np.allclose(affine[:3, 2], NORMAL * 6)
    centre = affine @ [LINES // 2, READOUT // 2, 0, 1]
    assert np.allclose(centre[:3], corner)


def test_3d_with_complete_partitions_becomes_slices_with_line_masks(write: Write) -> None:
    rng = np.random.default_rng(8)
    image = torch.from_numpy(_complex(rng, COILS, 6, READOUT, LINES))
    kspace = fft1c(fft2c(image).transpose(1, -1)).transpose(1, -1).numpy()
    lines = [3, 8, 9, 10, 14]
    path = write(kspace[None], lines=lines, positions=[np.array([1.0, 2.0, 3.0])])
    (volume,) = open_kspace(path)
    assert volume.shape == (6, COILS, READOUT, LINES)
    assert volume.mask is not None
    assert volume.mask[0].nonzero().flatten().tolist() == lines
    expected = fft2c(image)[:, 4][..., lines]
    assert torch.allclose(volume.read(4, volume.mask)[..., lines], expected, atol=1e-4)
    assert volume.affine is not None
    centre = volume.affine @ [LINES // 2, READOUT // 2, 3, 1]
    assert np.allclose(centre[:3], [1, 2, 3])


def test_3d_undersampled_in_both_directions_becomes_slices_along_the_readout(write: Write) -> None:
    rng = np.random.default_rng(9)
    image = torch.from_numpy(_complex(rng, COILS, 6, READOUT, LINES))
    kspace = fft1c(fft2c(image).transpose(1, -1)).transpose(1, -1).numpy()
    steps = [(z, x) for z in range(6) for x in range(LINES) if (z + x) % 2]
    (volume,) = open_kspace(write(kspace[None], steps=steps, positions=[np.array([1.0, 2.0, 3.0])]))
    assert volume.shape == (READOUT // 2, COILS, 6, LINES), "oversampled ends of the readout are gone"
    assert volume.mask is not None
    assert volume.mask.nonzero().tolist() == sorted(map(list, steps))
    row = READOUT // 4 + 3  # of the image
    expected = fft2c(image[:, :, row]) * volume.mask
    assert torch.allclose(volume.read(3, volume.mask), expected, atol=1e-4)
    assert volume.affine is not None
    centre = volume.affine @ [LINES // 2, 3, READOUT // 4, 1]
    assert np.allclose(centre[:3], [1, 2, 3])
    assert np.allclose(volume.affine[:3, 1], NORMAL * 5)


def _damage(path: Path, how: str) -> None:
    if how == "truncated":
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        return
    with h5py.File(path, "r+") as file:
        rows = file["dataset/data"][:]
        if how == "nan":
            rows["data"][3] = np.full_like(rows["data"][3], np.nan)
        elif how == "short line":
            rows["data"][3] = rows["data"][3][:-8]
        elif how == "step":
            rows["head"]["idx"]["kspace_encode_step_1"][3] = 500
        elif how == "coils":
            rows["head"]["active_channels"][3] = 2
        elif how == "xml":
            file["dataset/xml"][0] = b"<ismrmrdHeader>"
        file["dataset/data"][...] = rows


@pytest.mark.parametrize(
    ("how", "said"),
    [("truncated", "truncated"), ("nan", "NaN or infinity"), ("short line", "lines are damaged"), ("xml", "header"),
     ("step", "leaves the encoded matrix"), ("coils", "lines with")],
)  # fmt: skip
def test_damaged_mrd_is_refused_in_one_line(write: Write, how: str, said: str) -> None:
    path = write(_complex(np.random.default_rng(0), 1, COILS, 1, READOUT, LINES))
    _damage(path, how)
    with pytest.raises(InputError, match=said) as caught:
        mrd.open_volumes(path)[0].read(0, torch.ones(1, LINES, dtype=torch.bool))
    assert "\n" not in str(caught.value)
    assert "SENTINEL" not in str(caught.value)


def test_of_damaged_bytes_only_an_input_error_comes(tmp_path: Path) -> None:
    path, rng = tmp_path / "a.h5", np.random.default_rng(0)
    with h5py.File(path, "w") as file:  # no samples: those have a variable length, and HDF5's library itself can crash
        file.create_dataset("dataset/data", (2,), dtype=[("head", [("flags", "<u8"), ("active_channels", "<u2")])])
        file["dataset/xml"] = np.array([XML.encode()])
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    for _ in range(300):
        content = whole.copy()
        content[rng.integers(len(content), size=3)] = rng.integers(256, size=3)
        path.write_bytes(content.tobytes())
        with pytest.raises(InputError):
            open_kspace(path)


def test_what_needs_more_than_a_fourier_transform_is_refused(write: Write) -> None:
    kspace = _complex(np.random.default_rng(0), 1, COILS, 1, READOUT, LINES)
    with pytest.raises(InputError, match="radial"):
        mrd.open_volumes(write(kspace, trajectory="radial", name="a.h5"))
    with pytest.raises(InputError, match="both directions"):
        mrd.open_volumes(write(kspace, flags=[ismrmrd.ACQ_IS_REVERSE], name="b.h5"))
    with pytest.raises(InputError, match="no imaging"):
        mrd.open_volumes(write(kspace, flags=[ismrmrd.ACQ_IS_PHASECORR_DATA], name="c.h5"))


def test_names_stay_out_of_what_is_shown(write: Write) -> None:
    (volume,) = open_kspace(write(_complex(np.random.default_rng(0), 1, COILS, 1, READOUT, LINES)))
    assert volume.header is not None
    assert volume.header.identity["PatientName"] == "SENTINEL^NAME"
    assert "SENTINEL" not in repr(volume) + repr(volume.header)


@pytest.fixture
def shepp_logan(tmp_path: Path) -> Callable[..., Path]:
    """Files of the reference generator: noise scan, 8 coils."""
    if shutil.which("ismrmrd_generate_cartesian_shepp_logan") is None:
        pytest.skip("ismrmrd_generate_cartesian_shepp_logan is not installed (Debian: ismrmrd-tools)")

    def make(*words: str) -> Path:
        path = tmp_path / "shepp.h5"
        program = ["ismrmrd_generate_cartesian_shepp_logan", "-m", "64", "-c", "8", "-C", "-o", str(path), *words]
        subprocess.run(program, check=True, capture_output=True)
        return path

    return make


def test_images_equal_those_of_the_reference_reconstruction(shepp_logan: Callable[..., Path]) -> None:
    path = shepp_logan("-n", "0.01")
    (volume,) = open_kspace(path)
    subprocess.run(["ismrmrd_recon_cartesian_2d", str(path)], check=True, capture_output=True)
    with h5py.File(path) as file:
        theirs = np.abs(np.asarray(file["dataset/cpp/data"], np.float64).squeeze())
        noise = torch.from_numpy(np.asarray(file["dataset/data"]["data"][0], np.float32).view(np.complex64))
    assert volume.mask is not None
    samples = MeasuredVolume(volume).samples(0)[0]
    covariance = noise.reshape(8, -1) @ noise.reshape(8, -1).mH / (2 * 128)
    unwhitened = torch.linalg.cholesky(covariance) @ samples.reshape(8, -1)
    ours = ifft2c(unwhitened.reshape(samples.shape)).abs().square().sum(0).sqrt().numpy()  # (readout, phase)
    ours *= (ours * theirs.T).sum() / (ours**2).sum()  # their transform has another norm
    assert np.linalg.norm(ours - theirs.T) / np.linalg.norm(theirs) < 0.01
    assert volume.noise_std == 1


def test_undersampled_files_of_the_reference_generator(shepp_logan: Callable[..., Path]) -> None:
    volumes = open_kspace(shepp_logan("-a", "2", "-w", "16"))
    assert [v.name for v in volumes] == ["shepp_repetition0", "shepp_repetition1"]
    for offset, volume in enumerate(volumes):
        lines = set(range(offset, 64, 2)) | set(range(24, 40))
        assert volume.mask is not None
        assert set(volume.mask[0].nonzero().flatten().tolist()) == lines
        assert MeasuredVolume(volume)[0].image_shape == (64, 64)


def _write_cfl(stem: Path, array: np.ndarray) -> Path:
    stem.with_name(stem.name + ".hdr").write_text("# Dimensions\n" + " ".join(map(str, array.shape)) + "\n")
    array.astype("<c8").ravel(order="F").tofile(stem.with_name(stem.name + ".cfl"))
    return stem


def test_bart_slices_coils_and_pattern(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    kspace = _complex(rng, *(READOUT, LINES, 1, COILS), *([1] * 9), 2)
    stem = _write_cfl(tmp_path / "scan.of.head", kspace)
    pattern = np.zeros((1, LINES))
    pattern[0, [3, 9, 10]] = 1
    _write_cfl(tmp_path / "pattern", pattern)
    for name in (stem, tmp_path / "scan.of.head.cfl", tmp_path / "scan.of.head.hdr"):
        assert kind(name) == "bart"
    (volume,) = open_kspace(tmp_path / "scan.of.head.cfl", tmp_path / "pattern.cfl")
    assert volume.shape == (2, COILS, READOUT, LINES)
    assert volume.mask is not None
    assert volume.mask[0].nonzero().flatten().tolist() == [3, 9, 10]
    read = volume.read(1, volume.mask).numpy()
    assert np.array_equal(read[..., 9], kspace[:, 9, 0, :, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1].T)
    assert not read[..., 4].any()
    (unknown,) = open_kspace(stem)
    assert unknown.mask is None, "what was measured is never inferred from zeros"


def test_bart_3d_is_cut_along_the_readout(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image = torch.from_numpy(_complex(rng, COILS, 5, READOUT, LINES))
    kspace = fft1c(fft2c(image).transpose(1, -1)).transpose(1, -1).numpy()
    stem = _write_cfl(tmp_path / "scan", kspace.transpose(2, 3, 1, 0))
    steps = rng.random((1, LINES, 5)) < 0.6
    _write_cfl(tmp_path / "pattern", steps)
    (volume,) = open_kspace(stem, tmp_path / "pattern")
    assert volume.mask is not None
    assert np.array_equal(volume.mask.numpy(), steps[0].T)
    assert torch.allclose(volume.read(7, volume.mask), fft2c(image[:, :, 7]) * volume.mask, atol=1e-4)


@pytest.mark.parametrize("how", ["short", "long", "no header", "words", "maps", "pattern", "grey pattern"])
def test_damaged_bart_is_refused_in_one_line(tmp_path: Path, how: str) -> None:
    rng = np.random.default_rng(0)
    stem = _write_cfl(tmp_path / "scan", _complex(rng, 8, 6, 1, 2, *([2] if how == "maps" else [])))
    _write_cfl(tmp_path / "pattern", np.ones((1, 5 if how == "pattern" else 6)) * (0.5 if how == "grey pattern" else 1))
    cfl, header = tmp_path / "scan.cfl", tmp_path / "scan.hdr"
    if how == "short":
        cfl.write_bytes(cfl.read_bytes()[:-8])
    elif how == "long":
        cfl.write_bytes(cfl.read_bytes() + b"12345678")
    elif how == "no header":
        header.unlink()
    elif how == "words":
        header.write_text("# Dimensions\nmany\n")
    with pytest.raises(InputError) as caught:
        bart.open_volume(stem, tmp_path / "pattern")
    assert "\n" not in str(caught.value)


def test_masks_of_another_shape_do_not_cut_a_volume() -> None:
    with pytest.raises(InputError, match="phase-encode steps"):
        sliced(np.zeros((1, 2, 3, 4), np.complex64), np.ones((3, 4), bool), "here")


def test_monai_reads_one_slice(write: Write) -> None:
    kspace = _complex(np.random.default_rng(0), 2, COILS, 1, READOUT, LINES)
    path = write(kspace, lines=[3, 9, 10])
    reader = KspaceReader(index=1)
    assert reader.verify_suffix(path)
    samples, facts = reader.get_data(reader.read(path))
    assert np.array_equal(samples[..., 9], kspace[1, :, 0, :, 9])
    assert facts["mask"].sum() == 3

"""Readers: one slice at a time, the right way up, and one clear line for what is broken."""

from __future__ import annotations

import re

import h5py
import nibabel
import numpy as np
import pytest
import torch
from PIL import Image

from ambient_mri.data.readers import chosen_slices, fastmri, images, nifti
from ambient_mri.data.readers.content import open_kspace
from ambient_mri.data.readers.ismrmrd_header import Header
from ambient_mri.errors import InputError

LIMITS = (
    "<encodingLimits><kspace_encoding_step_1><minimum>{}</minimum><center>{}</center><maximum>{}</maximum>"
    "</kspace_encoding_step_1></encodingLimits>"
)


def _all_lines(volume):
    return torch.ones(1, volume.shape[-1], dtype=torch.bool)


# fastMRI


def test_slices_come_as_stored(tmp_path, write_fastmri):
    fake = write_fastmri(tmp_path / "a.h5", patient="p1")
    volume = fastmri.open_volume(fake.path)
    assert volume.shape == tuple(fake.kspace.shape)
    assert volume.patient == "p1"
    assert volume.mask is None
    assert volume.header.recon_matrix == (64, 64, 1)
    assert volume.header.encoded_fov_mm == (416.0, 208.0, 5.0)
    assert volume.header.lines == (0, 32, 63)
    assert torch.equal(volume.read(1, _all_lines(volume)), fake.kspace[1])


@pytest.mark.parametrize("options", [{"chunks": (1, 4, 128, 64)}, {"compression": "gzip"}])
def test_storage_changes_nothing(tmp_path, write_fastmri, options):
    volume = fastmri.open_volume(write_fastmri(tmp_path / "a.h5", **options).path)
    assert volume.offset is None
    fake = write_fastmri(tmp_path / "b.h5")
    assert fastmri.open_volume(fake.path).offset is not None
    assert torch.equal(volume.read(0, _all_lines(volume)), fake.kspace[0])


def test_unmeasured_samples_are_never_handed_out(tmp_path, write_fastmri):
    lines = torch.rand(1, 64, generator=torch.Generator().manual_seed(0)) < 0.3
    clean = write_fastmri(tmp_path / "a.h5").kspace.numpy()
    poisoned = np.where(lines.numpy(), clean, np.nan).astype(np.complex64)
    volume = fastmri.open_volume(write_fastmri(tmp_path / "b.h5", kspace=poisoned).path)
    samples = volume.read(0, lines)
    assert torch.equal(samples, torch.where(lines, torch.from_numpy(clean[0]), 0))
    points = lines.expand(128, 64) & (torch.arange(128) % 2 == 0)[:, None]
    assert torch.equal(volume.read(0, points), torch.where(points, torch.from_numpy(clean[0]), 0))


def test_nan_among_the_measured_names_the_slice(tmp_path, write_fastmri):
    kspace = write_fastmri(tmp_path / "a.h5").kspace.numpy()
    kspace[1, 2, 3, 40] = np.nan
    volume = fastmri.open_volume(write_fastmri(tmp_path / "b.h5", kspace=kspace).path)
    volume.read(0, _all_lines(volume))
    with pytest.raises(InputError, match=r"b\.h5: slice 1 holds NaN"):
        volume.read(1, _all_lines(volume))


def test_single_coil_files(tmp_path, write_fastmri):
    kspace = write_fastmri(tmp_path / "a.h5").kspace.numpy()[:, 0]
    volume = fastmri.open_volume(write_fastmri(tmp_path / "b.h5", kspace=kspace).path)
    assert volume.shape == (2, 1, 128, 64)
    assert torch.equal(volume.read(1, _all_lines(volume)), torch.from_numpy(kspace[1:2]))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda k: k.transpose(0, 2, 3, 1), r"\(2, 128, 64, 4\) would mean 128 coils"),
        (lambda k: k[0, 0], "has 2 axes"),
        (lambda k: k[0, :, :, :1, None], "would mean 128 coils|axes|readout"),
        (lambda k: np.stack([k.real, k.imag], -1), "float32"),
        (lambda k: k.swapaxes(2, 3), "128 readout samples, which are not on axis y"),
        (lambda k: k[:, 0].swapaxes(1, 2), "128 readout samples, which are not on axis y"),
    ],
)
def test_wrong_axes_say_what_was_expected(tmp_path, write_fastmri, change, says):
    kspace = change(write_fastmri(tmp_path / "a.h5").kspace.numpy())
    fake = write_fastmri(tmp_path / "b.h5", kspace=np.ascontiguousarray(kspace))
    with pytest.raises(InputError, match=says) as caught:
        fastmri.open_volume(fake.path)
    assert "expected complex (slices, coils, y, x)" in str(caught.value)


@pytest.mark.parametrize(
    ("mask", "says"),
    [
        (np.ones(80, bool), "longer than k-space; expected 64 lines"),
        (np.ones(60, bool), "expected 64 lines"),
        (np.ones((64, 64), bool), "expected 64 lines"),
        (np.full(64, 0.5), "other than 0 and 1"),
        (np.zeros(64, bool), "nothing was measured"),
    ],
)
def test_masks_that_do_not_fit(tmp_path, write_fastmri, mask, says):
    path = write_fastmri(tmp_path / "a.h5").path
    with h5py.File(path, "a") as file:
        file["mask"] = mask
    with pytest.raises(InputError, match=says):
        fastmri.open_volume(path)


def test_masks_are_read_not_inferred(tmp_path, write_fastmri):
    mask = np.arange(64) % 3 == 0
    for stored in (mask, mask.astype(np.float32), mask.astype(np.uint8)):
        volume = fastmri.open_volume(write_fastmri(tmp_path / "a.h5", mask=stored).path)
        assert torch.equal(volume.mask, torch.from_numpy(mask)[None])


def test_padding_counts_as_not_acquired(tmp_path, write_fastmri):
    path = write_fastmri(tmp_path / "a.h5").path
    with h5py.File(path, "a") as file:
        file.attrs["padding_left"], file.attrs["padding_right"] = 6, 60
    acquired = fastmri.open_volume(path).acquired[0]
    assert acquired.sum() == 54
    assert not acquired[:6].any() | acquired[60:].any()


@pytest.mark.parametrize(
    ("limits", "first", "end"),
    [((0, 26, 53), 6, 60), ((2, 26, 53), 8, 60), ((0, 32, 63), 0, 64), ((0, 20, 51), 12, 64), ((0, 0, 0), 0, 64)],
)
def test_padding_is_what_the_header_leaves_of_the_matrix(tmp_path, write_fastmri, limits, first, end):
    """Files of fastMRI have no attributes of padding: its loader, too, takes it from the encoding limits."""
    path = write_fastmri(tmp_path / "a.h5").path
    with h5py.File(path, "a") as file:
        header = file["ismrmrd_header"][()].decode()
        _set_header(file, re.sub(r"<encodingLimits>.*</encodingLimits>", LIMITS.format(*limits), header, flags=re.S))
    line = torch.arange(64)
    assert torch.equal(fastmri.open_volume(path).acquired[0], (line >= first) & (line < end))
    with h5py.File(path, "a") as file:
        file.attrs["padding_left"], file.attrs["padding_right"] = 3, 62
    assert fastmri.open_volume(path).acquired.sum() == 59
    with h5py.File(path, "a") as file:  # a matrix of other lines than the file holds: the limits are not of these
        del file.attrs["padding_left"], file.attrs["padding_right"]
        _set_header(file, file["ismrmrd_header"][()].decode().replace("<y>64</y>", "<y>80</y>", 1))
    assert fastmri.open_volume(path).acquired.all()


@pytest.mark.parametrize(
    ("encoded", "fov", "recon", "recon_fov", "kept"),
    [
        ((640, 372), (280, 162.818), (320, 320), (140, 140), (320, 320)),  # a knee of fastMRI
        ((512, 308), (512, 384), (256, 256), (256, 256), (256, 205)),  # phase encode oversampled, and resolved less
        ((512, 256), (512, 256), (512, 512), (256, 256), (256, 256)),  # interpolated to twice the matrix
        ((256, 205), (512, 256), (128, 256), (256, 256), (128, 205)),
        ((128, 64), (0, 0), (64, 64), (0, 0), (64, 64)),
    ],
)
def test_what_is_kept_lies_in_the_field_of_view_and_was_encoded(encoded, fov, recon, recon_fov, kept):
    header = Header((*encoded, 1), (*recon, 1), (*fov, 5.0), (*recon_fov, 5.0))
    assert header.kept == (*kept, 1)


def _set_header(file, text):
    del file["ismrmrd_header"]
    file["ismrmrd_header"] = text


def test_broken_files(tmp_path, write_fastmri):
    whole = write_fastmri(tmp_path / "a.h5").path
    cut = tmp_path / "cut.h5"
    cut.write_bytes(whole.read_bytes()[:200_000])
    with pytest.raises(InputError, match=r"cut\.h5: the HDF5 file is truncated"):
        fastmri.open_volume(cut)
    with pytest.raises(InputError, match="no such file"):
        fastmri.open_volume(tmp_path / "absent.h5")
    text = tmp_path / "text.h5"
    text.write_text("not HDF5")
    with pytest.raises(InputError, match="cannot be read as HDF5"):
        fastmri.open_volume(text)
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["reconstruction_rss"] = np.zeros((2, 4, 4))
    with pytest.raises(InputError, match="no dataset 'kspace'; the file holds reconstruction_rss"):
        fastmri.open_volume(tmp_path / "other.h5")
    assert not fastmri.is_fastmri(text)
    assert fastmri.is_fastmri(whole)


def _link_that_leads_nowhere(file: h5py.File) -> None:
    del file["kspace"]
    file["kspace"] = h5py.SoftLink("/nowhere")


def _group_instead_of(name):
    def change(file: h5py.File) -> None:
        del file[name]
        file.create_group(name)

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda f: f.attrs.update(noise_std="abc"), "attribute noise_std: expected one number, not 'abc'"),
        (lambda f: f.attrs.update(noise_std=[1.0, 2.0]), "attribute noise_std: expected one value, not 2"),
        (lambda f: f.attrs.update(noise_std=-1.0), "attribute noise_std: -1.0 is not a noise level"),
        (lambda f: f.attrs.update(noise_std=np.nan), "attribute noise_std: nan is not a noise level"),
        (lambda f: f.attrs.update(noise_std=True), "attribute noise_std: expected one number"),
        (lambda f: f.attrs.update(padding_left="x"), "attribute padding_left: expected one number"),
        (
            lambda f: f.attrs.update(padding_left=64),
            "encoding limits, or attributes padding_left and padding_right: the padding 64 to 64 leaves none",
        ),
        (lambda f: f.attrs.update(patient_id=h5py.Empty("f")), "attribute patient_id: expected text"),
        (lambda f: f.attrs.update(patient_id=np.bytes_(b"\xff")), "attribute patient_id: the text is not UTF-8"),
        (_link_that_leads_nowhere, "kspace: no dataset but a group, a link"),
        (_group_instead_of("kspace"), "kspace: no dataset but a group, a link"),
        (_group_instead_of("ismrmrd_header"), "ismrmrd_header: no dataset but a group"),
        (lambda f: f.create_group("mask"), "mask: no dataset but a group"),
        (lambda f: f.update({"mask": ["a", "b"]}), "mask: the mask holds object instead of numbers"),
    ],
)
def test_what_is_not_what_it_should_be_is_named(tmp_path, write_fastmri, change, says):
    path = write_fastmri(tmp_path / "a.h5").path
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(InputError, match=rf"a\.h5: {says}"):
        fastmri.open_volume(path)


def test_attributes_may_be_arrays_of_one_and_bytes(tmp_path, write_fastmri):
    path = write_fastmri(tmp_path / "a.h5").path
    with h5py.File(path, "r+") as file:
        file.attrs.update(noise_std=[3], patient_id=np.bytes_(b"p7"), acquisition=["AXT2"], padding_left=[6])
    volume = fastmri.open_volume(path)
    assert (volume.noise_std, volume.patient, volume.contrast, volume.acquired.sum()) == (3.0, "p7", "AXT2", 58)


def test_of_damaged_bytes_only_an_input_error_comes(tmp_path):
    path, rng, refused = tmp_path / "a.h5", np.random.default_rng(0), 0
    with h5py.File(path, "w") as file:  # hardly any samples: nearly every byte is structure
        file["kspace"], file["mask"] = np.ones((1, 1, 4, 4), np.complex64), [0, 1, 1, 1]
        # of a fixed length: reading damaged text of variable length, HDF5's library itself can crash
        file.attrs.update(noise_std=0.1, padding_left=1, patient_id=np.bytes_(b"p7"))
    whole = np.frombuffer(path.read_bytes(), np.uint8)
    for _ in range(300):
        content = whole.copy()
        content[rng.integers(len(content), size=3)] = rng.integers(256, size=3)
        path.write_bytes(content.tobytes()[: rng.choice([len(content), rng.integers(len(content))], p=[0.9, 0.1])])
        try:
            (volume,) = open_kspace(path)
            volume.read(0, torch.ones(1, volume.shape[-1], dtype=torch.bool))
        except InputError:
            refused += 1
    assert 50 < refused < 250


def test_a_file_cut_after_it_was_opened(tmp_path, write_fastmri):
    path = write_fastmri(tmp_path / "a.h5").path
    volume = fastmri.open_volume(path)
    path.write_bytes(path.read_bytes()[:200_000])
    with pytest.raises(InputError, match="slice 1 cannot be read"):
        volume.read(1, _all_lines(volume))


def test_names_must_differ_across_folders(tmp_path, write_fastmri):
    for folder in ("train", "val"):
        write_fastmri(tmp_path / folder / "a.h5")
    with pytest.raises(InputError, match=r"two files are called a\.h5"):
        fastmri.list_slices(tmp_path, folders=("train", "val"), slices="all")
    assert len(fastmri.list_slices(tmp_path, folders=("train",), slices="all")) == 2


def test_monai_pipelines_can_load_a_slice(tmp_path, write_fastmri):
    from monai.transforms import LoadImaged

    from ambient_mri.data.readers.image_reader import FastMRIReader

    mask = np.arange(64) % 3 == 0
    fake = write_fastmri(tmp_path / "a.h5", mask=mask)
    load = LoadImaged("kspace", reader=FastMRIReader(0), dtype=np.complex64, image_only=False)
    loaded = load({"kspace": str(fake.path)})
    assert torch.equal(
        torch.as_tensor(loaded["kspace"]).as_subclass(torch.Tensor), fake.kspace[0] * torch.from_numpy(mask)
    )
    assert np.array_equal(np.asarray(loaded["kspace_meta_dict"]["mask"]), mask[None])


# NIfTI


def _volume(tmp_path, array, affine, name="sub-1/anat/sub-1_T1w.nii.gz"):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return path


@pytest.mark.parametrize("codes", ["LAS", "RAS", "LPS", "PIR", "SAL"])
def test_slices_are_axial_and_radiological_whatever_the_storage(tmp_path, codes):
    world = np.random.default_rng(0).random((9, 11, 7)).astype(np.float32)  # R, A, S in mm from the origin
    ras = nibabel.Nifti1Image(world, np.diag([2.0, 3.0, 4.0, 1.0]))
    order = nibabel.orientations.axcodes2ornt(tuple(codes))
    stored = ras.as_reoriented(nibabel.orientations.ornt_transform(nibabel.io_orientation(ras.affine), order))
    path = _volume(tmp_path, np.asarray(stored.dataobj), stored.affine)
    axial = codes.index("S") if "S" in codes else codes.index("I")
    index = 2
    image, affine = nifti.read_slice(path, index)
    height = index if "S" in codes else world.shape[2] - 1 - index
    assert np.asarray(stored.dataobj).shape[axial] == 7
    assert np.array_equal(image.numpy(), world[::-1, ::-1, height].T)  # rows to posterior, columns to left
    for row, column in ((0, 0), (3, 5)):
        lps = affine.numpy() @ [column, row, 0, 1]
        assert np.allclose(lps, [-2.0 * (8 - column), -3.0 * (10 - row), 4.0 * height, 1])


def test_fractions_of_a_volume_count_from_the_feet_whatever_the_storage(tmp_path):
    ras = nibabel.Nifti1Image(np.arange(8 * 9 * 10, dtype=np.float32).reshape(8, 9, 10), np.diag([2.0, 3.0, 4.0, 1.0]))
    for codes in ("RAS", "LPI", "SAR", "IPL"):
        order = nibabel.orientations.axcodes2ornt(tuple(codes))
        stored = ras.as_reoriented(nibabel.orientations.ornt_transform(nibabel.io_orientation(ras.affine), order))
        _volume(tmp_path, np.asarray(stored.dataobj), stored.affine, f"sub-1/anat/sub-1_acq-{codes}_T1w.nii")
    heights: dict[str, list[float]] = {}
    for record in nifti.list_slices(tmp_path, suffix="T1w", slices=(0.1, 0.3), patient_column="group"):
        heights.setdefault(record.volume_id, []).append(float(nifti.read_slice(record.path, record.index)[1][2, 3]))
    assert [sorted(found) for found in heights.values()] == [[4.0, 8.0]] * 4


def test_brain_slices_match_the_display_convention(real_data):
    path = real_data / "brain_bids" / "sub-soop1" / "anat" / "sub-soop1_FLAIR.nii.gz"
    if not path.is_file():
        pytest.skip(f"{path} is absent")
    stored = np.asarray(nibabel.load(path).dataobj)
    image, _ = nifti.read_slice(path, 0)
    assert np.array_equal(image.numpy(), np.rot90(stored[..., 0]))


def test_listing_takes_patients_from_the_table(tmp_path):
    for who in ("sub-1", "sub-2", "sub-3"):
        _volume(tmp_path, np.zeros((8, 8, 5), np.uint8), np.eye(4), f"{who}/ses-a/anat/{who}_ses-a_T1w.nii.gz")
    (tmp_path / "participants.tsv").write_text("participant_id\tgroup\nsub-1\tx\nsub-2\tx\nsub-3\t\n")
    records = nifti.list_slices(tmp_path, suffix="T1w", slices="middle", patient_column="group")
    assert [(r.volume_id, r.index, r.patient) for r in records] == [
        ("sub-1_ses-a_T1w", 2, "x"), ("sub-2_ses-a_T1w", 2, "x"), ("sub-3_ses-a_T1w", 2, "sub-3"),
    ]  # fmt: skip
    assert len(nifti.list_slices(tmp_path, suffix="T1w", slices="all", patient_column="group")) == 15
    assert not nifti.list_slices(tmp_path, suffix="FLAIR", slices="all", patient_column="group")


def test_broken_volumes(tmp_path):
    holed = np.zeros((8, 8, 5), np.float32)
    holed[1, 1, 3] = np.nan
    path = _volume(tmp_path, holed, np.eye(4))
    nifti.read_slice(path, 2)
    with pytest.raises(InputError, match="slice 3 holds NaN"):
        nifti.read_slice(path, 3)
    noisy = np.random.default_rng(0).random((32, 32, 8)).astype(np.float32)
    path = _volume(tmp_path, noisy, np.eye(4))
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(InputError, match="cannot be read"):
        nifti.read_slice(path, 7)
    with pytest.raises(InputError, match="three axes"):
        nifti.read_slice(_volume(tmp_path, np.zeros((4, 4, 4, 2), np.float32), np.eye(4)), 0)
    (tmp_path / "x.nii.gz").write_text("no")
    with pytest.raises(InputError, match="cannot be read as NIfTI"):
        nifti.read_slice(tmp_path / "x.nii.gz", 0)


def test_resized_affine_points_at_the_same_place():
    affine = torch.diag(torch.tensor([2.0, 2.0, 4.0, 1.0], dtype=torch.float64))
    affine[:3, 3] = torch.tensor([-5.0, 7.0, 11.0], dtype=torch.float64)
    blob = torch.zeros(32, 24)
    blob[9, 7] = 1.0
    small = images.resized(blob, 16, "x")
    place = (small == small.max()).nonzero()[0].tolist()
    y, x = place
    moved = nifti.resized_affine(affine, (32, 24), 16) @ torch.tensor([x, y, 0, 1.0], dtype=torch.float64)
    exact = affine @ torch.tensor([7, 9, 0, 1.0], dtype=torch.float64)
    assert (moved - exact).abs().max() <= 1.0  # half an old voxel of 2 mm


# Images


def test_colour_becomes_luminance_and_opacity_is_dropped(tmp_path):
    pixels = np.zeros((10, 12, 4), np.uint8)
    pixels[...] = (200, 100, 50, 7)
    Image.fromarray(pixels, "RGBA").save(tmp_path / "a.png")
    image = images.read_slice(tmp_path / "a.png", 0)
    assert image.shape == (10, 12)
    assert torch.allclose(image, torch.tensor(0.299 * 200 + 0.587 * 100 + 0.114 * 50))


def test_stacks_greyscale_and_subfolders(tmp_path):
    (tmp_path / "deep").mkdir()
    stack = np.random.default_rng(0).random((5, 16, 16))
    np.save(tmp_path / "stack.npy", stack)
    np.save(tmp_path / "deep" / "colour.npy", np.ones((16, 16, 3)))
    Image.fromarray(np.full((16, 16), 9, np.uint8)).save(tmp_path / "grey.png")
    records = images.list_slices(tmp_path, patient="file")
    assert [r.scan_id for r in records] == ["deep/colour/0", "grey/0", *[f"stack/{i}" for i in range(5)]]
    assert torch.allclose(images.read_slice(tmp_path / "stack.npy", 3), torch.from_numpy(stack[3]).float())
    assert torch.allclose(images.read_slice(tmp_path / "deep" / "colour.npy", 0), torch.ones(16, 16))
    assert {r.patient for r in images.list_slices(tmp_path, patient="folder")} == {".", "deep"}


def test_area_averaging_and_padding():
    image = torch.arange(64.0).reshape(8, 8)
    assert torch.equal(images.resized(image, 4, "x"), image.unflatten(0, (4, 2)).unflatten(2, (4, 2)).mean((1, 3)))
    wide = images.resized(torch.ones(4, 8), 8, "x")
    assert torch.equal(wide.sum(1), torch.tensor([0.0, 0, 8, 8, 8, 8, 0, 0]))
    with pytest.raises(InputError, match="smaller than image_size 16"):
        images.resized(image, 16, "x")


def test_broken_images(tmp_path):
    (tmp_path / "a.png").write_text("no")
    with pytest.raises(InputError, match="cannot be read as an image"):
        images.read_slice(tmp_path / "a.png", 0)
    for name, array, says in (
        ("c", np.ones((8, 8), np.complex64), "not a magnitude image"),
        ("n", np.full((8, 8), np.nan), "NaN"),
        ("o", np.array([{}], dtype=object), "cannot be read as NPY"),
    ):
        np.save(tmp_path / f"{name}.npy", array, allow_pickle=True)
        with pytest.raises(InputError, match=says):
            images.read_slice(tmp_path / f"{name}.npy", 0)


def test_chosen_slices():
    assert list(chosen_slices("middle", 5)) == [2]
    assert list(chosen_slices("all", 3)) == [0, 1, 2]
    assert list(chosen_slices((0.25, 0.75), 8)) == [2, 3, 4, 5]
    assert list(chosen_slices((1.0, 1.0), 8)) == [7]
    assert list(chosen_slices((0.0, 1.0), 1)) == [0]

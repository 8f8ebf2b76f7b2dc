"""Scans: deterministic, from measured samples only, of bounded memory; truth is for evaluation alone."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import torch
import yaml

from ambient_mri.data import slices
from ambient_mri.data.acquired import MeasuredVolume, equispaced
from ambient_mri.data.dataset import Scans, open_evaluation, open_scans
from ambient_mri.data.readers.fastmri import open_volume
from ambient_mri.data.spec import load_spec
from ambient_mri.errors import InputError
from ambient_mri.fourier import ifft2c
from ambient_mri.measurement import Measurement, collate
from ambient_mri.patterns import EquispacedLines, RandomLines
from ambient_mri.prior.steps import draw

NOISE_STD = 3e-6  # of the fixture's files


def _same(one: Measurement, other: Measurement) -> bool:
    tensors = [(getattr(one, n), getattr(other, n)) for n in ("y", "mask", "sensitivity_maps", "noise_std", "scale")]
    return one.scan_ids == other.scan_ids and all(torch.equal(a, b) for a, b in tensors if a is not None)


def _masked_files(folder, write_fastmri, law):
    """Eight scans of the fixture's size that bring masks of a law."""
    for i in range(8):
        write_fastmri(folder / f"scan{i}.h5", i, mask=law.draw((64, 64), torch.Generator().manual_seed(i))[0].numpy())


@pytest.fixture
def cohort(tmp_path, write_fastmri, fastmri_spec):
    """Four fully sampled files of four patients, and the spec over them."""
    fakes = {f"scan{i}": write_fastmri(tmp_path / "files" / f"scan{i}.h5", i, patient=f"p{i}") for i in range(4)}
    return fakes, load_spec(str(fastmri_spec()))


# Simulated scans


def test_demo_scans_are_normalised_and_deterministic():
    spec = load_spec("brain_demo")
    scans = open_scans(spec, "train", limit=5)
    assert len(scans) == 5
    assert scans.image_shape == (64, 64)
    assert scans[3].y.shape == (1, 4, 64, 64)
    assert scans[3].mask.shape == (1, 1, 1, 64)
    assert scans[3].mask.sum() == 16
    assert scans[3] is scans[3]
    assert _same(scans[3], open_scans(spec, "train")[3])
    assert scans.ids[3] == scans[3].scan_ids[0]
    assert scans.patient(3) == scans.ids[3].split("/")[0]
    assert len(collate(list(scans))) == 5
    assert not (scans[3].mask == scans[4].mask).all()
    rms = scans[3].y.abs().square().sum().sqrt() / 64  # of what was measured; most of the energy
    assert 0.4 < rms < 0.55


def test_parts_share_nobody():
    spec = load_spec("brain_demo")
    who = {part: set(open_scans(spec, part).ids) for part in ("train", "validation", "test")}
    assert [len(ids) for ids in who.values()] == [480, 60, 60]
    assert len(set.union(*who.values())) == 600
    with pytest.raises(InputError, match="no part is called 'val'"):
        open_scans(spec, "val")


def test_unmeasured_samples_are_zero_and_truth_stays_behind():
    spec = load_spec("brain_demo")
    scans = open_scans(spec, "test", limit=1)
    measurement = scans[0]
    hidden = ~measurement.mask.expand_as(measurement.y)
    assert not measurement.y[hidden].any()
    evaluated, truth = open_evaluation(spec, "test", limit=1)[0]
    assert _same(measurement, evaluated)
    assert not any(isinstance(value, torch.Tensor) for value in vars(scans).values())
    assert set(vars(measurement)) == {
        "y", "mask", "sensitivity_maps", "noise_std", "scale", "domain", "scan_ids", "affine", "acquired",
        "component",
    }  # fmt: skip
    residual = (measurement.operator().forward(truth) - measurement.y)[~hidden]
    std = float((residual.abs().square().mean() / 2).sqrt())
    assert std == pytest.approx(float(measurement.noise_std), rel=0.03)


def test_another_law_keeps_the_scan():
    spec = load_spec("brain_demo")
    eight, truth = open_evaluation(spec, "test", pattern=RandomLines(8, 0.08), limit=1)[0]
    four, other = open_evaluation(spec, "test", limit=1)[0]
    assert eight.mask.sum() == 8
    assert four.mask.sum() == 16
    magnitudes = [x.abs() * scale for x, scale in ((truth, eight.scale), (other, four.scale))]
    assert torch.allclose(*magnitudes, rtol=1e-4, atol=1e-5)


def test_the_clean_twin_sees_everything():
    spec = load_spec("brain_demo").model_copy(update={"acquisition": load_spec("brain_bids_clean").acquisition})
    scans = open_scans(spec, "train", limit=1)
    assert scans[0].mask.all()
    from ambient_mri.operators import Masked

    whole = Masked(scans[0].encoding(), scans[0].mask)
    shown = scans.further().draw(whole, [torch.Generator().manual_seed(0)]).operator.mask
    assert 5 < shown.sum() < 16  # what D leaves of an R=4 scan


def test_bids_and_image_specs(real_data):
    if not (real_data / "brain_bids").is_dir():
        pytest.skip("brain_bids is not there")
    scan = open_scans(load_spec("brain_bids"), "validation", limit=1)[0]
    assert scan.y.shape == (1, 4, 64, 64)
    assert torch.allclose(scan.affine[0, :2, :2], torch.diag(torch.tensor([3.0, 3.0])))
    pixels = open_scans(load_spec("brain_bids_pixels"), "validation", limit=1)[0]
    assert pixels.domain == "image"
    assert pixels.sensitivity_maps is None
    assert 0.3 < pixels.mask.float().mean() < 0.5


def test_memory_is_bounded():
    spec = load_spec("brain_demo")
    made = []
    one = 64 * 64 * 4 * 8 * 2 + 64
    scans = open_scans(spec, "train", limit=4, cache_bytes=2 * one)
    made = [scans[i] for i in range(4)]
    assert scans[3] is made[3]
    assert scans[2] is made[2]
    assert scans[0] is not made[0]
    assert _same(scans[0], made[0])


# Acquired scans


def test_one_mask_a_scan_fixed_by_its_name(cohort):
    _, spec = cohort
    scans = open_scans(spec, "train")
    assert len(scans) == 4
    masks = {}
    for measurement, name in zip(scans, scans.ids, strict=True):
        assert measurement.y.shape == (1, 4, 64, 64)  # readout oversampling removed
        assert measurement.mask.shape == (1, 1, 1, 64)
        assert measurement.mask.sum() == 16
        masks.setdefault(name.split("/")[0], []).append(measurement.mask)
    assert all(torch.equal(a, b) for a, b in masks.values())
    (one, _), (other, _) = masks.values()
    assert not torch.equal(one, other)


def test_nothing_unmeasured_reaches_a_measurement(cohort, write_fastmri, tmp_path):
    """The poison test: samples that A does not measure may be NaN, and not a bit changes."""
    fakes, spec = cohort
    scans = open_scans(spec, "train")
    before = [scans[i] for i in range(len(scans))]
    slices._measured_volume.cache_clear()
    for i, measurement in enumerate(before):
        fake = fakes[scans.ids[i].split("/")[0]]
        poisoned = np.where(measurement.mask[0, 0].numpy(), fake.kspace.numpy(), np.nan).astype(np.complex64)
        with h5py.File(fake.path, "a") as file:
            file["kspace"][...] = poisoned
    again = open_scans(spec, "train")
    for i, measurement in enumerate(before):
        assert torch.isfinite(torch.view_as_real(again[i].y)).all()
        assert _same(measurement, again[i])


def test_noise_and_scale_are_of_the_volume(cohort):
    _, spec = cohort
    scans = open_scans(spec, "train")
    first, second = scans[0], scans[1]
    assert scans.ids[0].split("/")[0] == scans.ids[1].split("/")[0]
    assert torch.equal(first.scale, second.scale)
    assert float(first.noise_std * first.scale) == pytest.approx(NOISE_STD, rel=0.15)


def test_the_scale_is_that_of_the_middle_slice(tmp_path, write_fastmri):
    kspace = write_fastmri(tmp_path / "a.h5").kspace
    loud = torch.stack([10 * kspace[0], kspace[1]]).numpy()
    everything = torch.ones(1, 64, dtype=torch.bool)
    one, other = (
        MeasuredVolume(open_volume(write_fastmri(tmp_path / name, kspace=samples).path), everything)
        for name, samples in (("b.h5", kspace.numpy()), ("c.h5", loud))
    )
    assert one.scale == other.scale
    energy = float(one[1].y.abs().square().sum()) / 64**2  # a pixel of the normalised slice and of 4 coils' noise
    assert energy - 4 * 2 * float(one[1].noise_std) ** 2 == pytest.approx(0.25, rel=1e-3)


def test_stated_noise_is_in_the_units_of_the_file(tmp_path, write_fastmri, fastmri_spec):
    for i in range(4):
        write_fastmri(tmp_path / "files" / f"scan{i}.h5", i)
    scan = open_scans(load_spec(str(fastmri_spec(acquisition={"noise_std": 5e-6}))), "train")[0]
    assert float(scan.noise_std * scan.scale) == pytest.approx(5e-6)


def test_truth_of_fully_sampled_files(cohort):
    fakes, spec = cohort
    scans = open_evaluation(spec, "test")
    measurement, truth = scans[1]
    assert scans.ids[1].endswith("/1")
    image = fakes[scans.ids[1].split("/")[0]].images[1]
    physical = (truth.abs() * measurement.scale)[0, 0]
    inside = image > 0.2 * image.max()
    assert float(((physical - image)[inside]).abs().mean() / image[inside].mean()) < 0.1
    magnitude = measurement.adjoint().abs()[0, 0]
    correlation = torch.corrcoef(torch.stack([magnitude.flatten(), truth.abs().flatten()]))[0, 1]
    assert correlation > 0.7  # zero-filled at R=4, through maps estimated from its calibration lines


def test_files_with_masks_have_no_truth_and_may_give_the_law(tmp_path, write_fastmri, fastmri_spec):
    _masked_files(tmp_path / "files", write_fastmri, RandomLines(4, 0.125))
    spec = load_spec(str(fastmri_spec(acquisition={"pattern": {"kind": "from_files"}})))
    scans = open_scans(spec, "train")
    with h5py.File(tmp_path / "files" / f"{scans.ids[0].split('/')[0]}.h5") as file:
        assert np.array_equal(scans[0].mask[0, 0, 0].numpy(), file["mask"][:])
    probability = scans.pattern().probability((64, 64))
    assert float(probability.sum()) == pytest.approx(16)
    assert (probability[0, 28:36] == 1).all()
    assert scans.further().pattern == scans.pattern()
    with pytest.raises(InputError, match="masks of the training files"):
        spec.pattern()
    with pytest.raises(InputError, match="there is no truth to evaluate against"):
        open_evaluation(spec, "test")


def test_from_files_needs_masks(cohort, fastmri_spec):
    with pytest.raises(InputError, match="no mask"):
        open_scans(load_spec(str(fastmri_spec(acquisition={"pattern": {"kind": "from_files"}}))), "train")[0]


@pytest.mark.usefixtures("cohort")
def test_cropped_kspace_is_the_same_scan_at_lower_resolution(fastmri_spec):
    small = open_scans(load_spec(str(fastmri_spec(source={"crop_kspace": 32}))), "train")[0]
    assert small.y.shape == (1, 4, 32, 32)
    assert small.mask.sum() == 8
    with pytest.raises(InputError, match="smaller than crop_kspace 80"):
        open_scans(load_spec(str(fastmri_spec(source={"crop_kspace": 80}))), "train")[0]


def test_coils_of_file_and_spec_must_agree(cohort, fastmri_spec):
    with pytest.raises(InputError, match="4 coils, but the spec states 8"):
        open_scans(load_spec(str(fastmri_spec(acquisition={"coils": 8}))), "train")[0]


def test_removing_oversampling_is_a_crop_of_the_image(tmp_path, write_fastmri):
    fake = write_fastmri(tmp_path / "a.h5")
    volume = MeasuredVolume(open_volume(fake.path), torch.ones(1, 64, dtype=torch.bool))
    cropped = ifft2c(volume.samples(0))[0]
    assert torch.allclose(cropped, ifft2c(fake.kspace[0])[:, 32:96], atol=1e-9)
    whole = MeasuredVolume(open_volume(fake.path), torch.ones(1, 64, dtype=torch.bool), remove_oversampling=False)
    assert torch.equal(whole.samples(0)[0], fake.kspace[0])


def test_points_cannot_lose_their_oversampling(tmp_path, write_fastmri):
    volume = open_volume(write_fastmri(tmp_path / "a.h5").path)
    with pytest.raises(InputError, match="oversampled readout"):
        MeasuredVolume(volume, torch.ones(64, 64, dtype=torch.bool))
    with pytest.raises(InputError, match="fully sampled"):
        MeasuredVolume(volume)


def test_padded_lines_are_not_measured(tmp_path, write_fastmri):
    fake = write_fastmri(tmp_path / "a.h5")
    with h5py.File(fake.path, "a") as file:
        file.attrs["padding_left"], file.attrs["padding_right"] = 6, 60
    volume = MeasuredVolume(open_volume(fake.path), torch.ones(1, 64, dtype=torch.bool))
    scan = volume[0]
    assert scan.mask.sum() == 54
    assert torch.equal(scan.acquired, scan.mask)
    whole = MeasuredVolume(open_volume(write_fastmri(tmp_path / "b.h5").path), torch.ones(1, 64, dtype=torch.bool))[0]
    assert whole.acquired is None
    assert torch.equal(collate([whole, scan]).acquired, torch.cat([torch.ones_like(scan.mask), scan.mask]))
    assert torch.equal(collate([whole, scan])[[1]].to("cpu").acquired, scan.mask)


def test_d_knows_the_padding_of_each_file(tmp_path, write_fastmri, fastmri_spec):
    """Weights of the training's own draw: d / (N - K̃) with N the lines that the scanner measured."""
    for i in range(8):
        with h5py.File(write_fastmri(tmp_path / "files" / f"scan{i}.h5", i).path, "a") as file:
            file.attrs["padding_left"], file.attrs["padding_right"] = 6, 60
    pattern = {"kind": "random_lines", "acceleration": 4, "calibration_fraction": 0.125}
    scans = open_scans(load_spec(str(fastmri_spec(acquisition={"pattern": pattern}))), "train")
    drawn = draw(scans[0], scans.further(), [torch.Generator().manual_seed(0)])
    shown, measured = drawn.further.operator.mask[0, 0, 0], scans[0].mask[0, 0, 0]
    hidden = measured & ~shown
    expected = (54 - int(shown.sum())) / int(hidden.sum())
    assert torch.allclose(drawn.further.weight[0, 0, 0][hidden], torch.tensor(expected))


def test_equally_spaced_masks_of_files_are_no_frequencies(tmp_path, write_fastmri, fastmri_spec):
    _masked_files(tmp_path / "files", write_fastmri, EquispacedLines(3, 0.125))
    spec = load_spec(str(fastmri_spec(acquisition={"pattern": {"kind": "from_files"}})))
    with pytest.raises(InputError, match="equally spaced") as caught:
        open_scans(spec, "train")[0]
    stated = yaml.safe_load(caught.value.remedy.partition("pattern: ")[2])
    named = load_spec(str(fastmri_spec(acquisition={"pattern": stated}))).pattern()
    mask = open_volume(tmp_path / "files" / "scan0.h5").mask
    assert any(torch.equal(named.draw((64, 64), torch.Generator().manual_seed(i)), mask) for i in range(40))


def test_lines_on_two_combs_are_not_equally_spaced():
    lines = torch.zeros(1, 48, dtype=torch.bool)
    lines[:, [0, 4, 8, 12, 24, 36, 40, 44]] = True
    assert equispaced(lines)
    assert not equispaced(lines.roll(1, -1) & (torch.arange(48) > 24) | lines & (torch.arange(48) < 25))


def test_single_coil_volumes(tmp_path, write_fastmri):
    kspace = write_fastmri(tmp_path / "a.h5").kspace.numpy()[:, 0]
    law = RandomLines(2, 0.125)
    mask = law.draw((64, 64), torch.Generator().manual_seed(0))
    volume = MeasuredVolume(open_volume(write_fastmri(tmp_path / "b.h5", kspace=kspace).path), mask)
    assert volume[1].y.shape == (1, 1, 64, 64)
    assert torch.allclose(volume[1].sensitivity_maps.abs(), torch.ones(()))


def test_evaluation_objects_do_not_pass_for_scans():
    assert not isinstance(open_evaluation(load_spec("brain_demo"), "test", limit=1), Scans)

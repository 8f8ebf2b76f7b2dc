"""The transforms work in MONAI's own Compose, repeat when seeded, and read only what was measured."""

from pathlib import Path
from typing import Any

import h5py
import nibabel
import numpy as np
import pytest
import torch
from monai.data.dataset import Dataset
from monai.transforms import Compose
from monai.transforms.transform import MapTransform
from torch import Tensor

from ambient_mri.data.simulation import birdcage_maps
from ambient_mri.data.transforms import (
    EstimateSensitivityMapsd,
    LoadScand,
    NormalizeByMeasuredd,
    RandBlockMaskd,
    RandPixelMaskd,
    RandUndersampled,
)
from ambient_mri.errors import InputError
from ambient_mri.fourier import fft2c, ifft2c
from ambient_mri.patterns import Pixels, RandomLines
from ambient_mri.randomness import stream

LAW = RandomLines(acceleration=2, calibration_fraction=0.2)


def image(y: int = 34, x: int = 48) -> Tensor:
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, y), torch.linspace(-1, 1, x), indexing="ij")
    return ((rows.square() + columns.square() < 0.6) * (1 + 0.3 * torch.sin(9 * columns)))[None]


def scan() -> dict[str, Tensor]:
    return {"image": image(), "sensitivity_maps": birdcage_maps(4, (34, 48), stream(0, "coils", "a"))[0]}


RANDOM = [RandPixelMaskd("image", 0.6), RandBlockMaskd("image", 0.3, 0.4, 2), RandUndersampled("image", LAW)]


@pytest.mark.parametrize("transform", RANDOM, ids=lambda t: type(t).__name__)
def test_compose_seeds_each_item_anew_and_repeats(transform: MapTransform) -> None:
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    chain = Compose([transform])
    chain.set_random_state(seed=3)
    first, second = (chain({"image": image()}) for _ in range(2))
    assert not torch.equal(first["mask"], second["mask"])
    chain.set_random_state(seed=3)
    again = chain({"image": image()})
    assert torch.equal(first["mask"], again["mask"])
    assert torch.equal(first["image"], again["image"])
    assert torch.equal(state, torch.get_rng_state())
    assert np.array_equal(numpy_state, np.random.get_state()[1])  # noqa: NPY002


@pytest.mark.parametrize("transform", RANDOM, ids=lambda t: type(t).__name__)
def test_the_input_is_left_alone_and_the_rest_is_zero(transform: MapTransform) -> None:
    data: dict[str, Any] = {"image": image()}
    out = transform(data)
    assert torch.equal(data["image"], image())
    assert out["mask"].dtype == torch.bool
    assert not out["image"][~out["mask"].expand_as(out["image"])].any()
    assert out["image"].any()


def test_pixels_and_blocks_keep_the_rest_as_it_was() -> None:
    for transform, share in (
        (RandPixelMaskd(["image", "b"], 0.6), 0.4),
        (RandBlockMaskd(["image", "b"], 0.5, 0.5), 0.75),
    ):
        out = transform({"image": image(64, 64), "b": 2 * image(64, 64)})
        assert torch.equal(out["image"][out["mask"]], image(64, 64)[out["mask"]])
        assert torch.equal(out["b"], 2 * out["image"])
        assert float(out["mask"].float().mean()) == pytest.approx(share, abs=0.05)


def test_undersampling_an_image_measures_its_coil_images() -> None:
    data = scan()
    out = RandUndersampled("image", LAW)(data)
    every = fft2c(data["sensitivity_maps"] * data["image"])
    assert out["mask"].shape == (1, 1, 48)
    assert torch.allclose(out["image"], torch.where(out["mask"], every, 0), atol=1e-6)


def test_undersampling_kspace_never_reads_the_rest() -> None:
    kspace = fft2c(scan()["sensitivity_maps"] * image())
    chain = Compose(
        [
            RandUndersampled("kspace", LAW, domain="kspace"),
            EstimateSensitivityMapsd("kspace"),
            NormalizeByMeasuredd("kspace", LAW),
        ]
    )
    chain.set_random_state(seed=0)
    clean = chain({"kspace": kspace})
    poisoned = torch.where(clean["mask"], kspace, torch.full_like(kspace, float("nan")))
    chain.set_random_state(seed=0)
    out = chain({"kspace": poisoned})
    for key in ("kspace", "mask", "sensitivity_maps"):
        assert torch.equal(clean[key], out[key])
    assert clean["scale"] == out["scale"]


def test_noise_has_the_stated_level() -> None:
    transform = RandUndersampled("image", LAW, noise_std=0.3)
    out = transform({"image": torch.zeros(1, 64, 64)})
    noise = out["image"][out["mask"].expand_as(out["image"])]
    assert float(noise.real.std()) == pytest.approx(0.3, rel=0.1)
    assert float(noise.imag.std()) == pytest.approx(0.3, rel=0.1)


def test_normalising_undoes_the_scale_of_the_data() -> None:
    law = Pixels(missing=0.5)
    chain = Compose([RandPixelMaskd("image", 0.5), NormalizeByMeasuredd("image", law)])
    chain.set_random_state(seed=1)
    small = chain({"image": image()})
    chain.set_random_state(seed=1)
    large = chain({"image": 300 * image()})
    assert torch.allclose(small["image"], large["image"], atol=1e-5)
    assert large["scale"] == pytest.approx(300 * small["scale"], rel=1e-4)


def test_estimated_maps_explain_the_coil_images() -> None:
    data = scan()
    out = Compose([RandUndersampled("image", RandomLines(1.5, 0.5)), EstimateSensitivityMapsd("image")])(data)
    maps, true = out["sensitivity_maps"], data["sensitivity_maps"]
    agreement = (maps.conj() * true).sum(0).abs()[image()[0] > 0.5]
    assert float(agreement.mean()) > 0.97


def test_loading_in_a_monai_dataset(tmp_path: Path) -> None:
    volume = np.random.default_rng(0).random((12, 10, 5)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / "a.nii.gz")
    np.save(tmp_path / "b.npy", volume[..., 0])
    files = [{"image": str(tmp_path / name)} for name in ("a.nii.gz", "b.npy")]
    a, b = Dataset(files, Compose([LoadScand("image"), RandPixelMaskd("image", 0.5)]))
    assert a["image"].shape == (1, 10, 12)
    assert b["image"].shape == (1, 12, 10)
    chosen = LoadScand("image")({"image": tmp_path / "a.nii.gz", "slice": 4})["image"]
    assert np.allclose(np.sort(chosen.numpy(), axis=None), np.sort(volume[..., 4], axis=None))


def test_the_middle_of_a_stack_is_loaded_unless_another_is_named(tmp_path: Path) -> None:
    np.save(tmp_path / "stack.npy", np.arange(5.0)[:, None, None] * np.ones((1, 12, 9)))
    load = LoadScand("image")
    assert load({"image": tmp_path / "stack.npy"})["image"].unique().tolist() == [2.0]
    assert load({"image": tmp_path / "stack.npy", "slice": 0})["image"].unique().tolist() == [0.0]


def test_loading_kspace_brings_its_mask(tmp_path: Path) -> None:
    kspace = fft2c(scan()["sensitivity_maps"] * image())[None].numpy()
    mask = LAW.draw((34, 48), stream(0, "mask", "a"))
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["kspace"], file["mask"] = kspace, mask[0].float().numpy()
    out = LoadScand("scan")({"scan": tmp_path / "a.h5"})
    assert torch.equal(out["mask"], mask[None])
    assert torch.equal(out["scan"], torch.where(mask, torch.from_numpy(kspace[0]), 0))
    assert ifft2c(out["scan"]).isfinite().all()


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        LoadScand("image")({"image": tmp_path / "a.h5"})
    (tmp_path / "a.h5").write_bytes(b"not HDF5")
    with pytest.raises(InputError, match=r"a\.h5"):
        LoadScand("image")({"image": tmp_path / "a.h5"})
    with pytest.raises(InputError, match="share one mask"):
        RandPixelMaskd(["a", "b"], 0.5)({"a": image(8, 8), "b": image(8, 9)})
    with pytest.raises(InputError, match="domain"):
        RandUndersampled("a", LAW, domain="wavelet")

"""Models of the package are found by name, and are what was trained, in half precision."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import run

from ambient_mri.cli import main
from ambient_mri.data.dataset import open_scans
from ambient_mri.data.spec import load_spec
from ambient_mri.prior import shipped
from ambient_mri.prior.bundle import load_bundle, weights_sha256
from ambient_mri.reconstruction import batch
from ambient_mri.reconstruction.calibration import load_calibration
from ambient_mri.reconstruction.methods import default_method, reconstruction
from ambient_mri.reconstruction.posterior import Posterior, Sampling
from ambient_mri.sampling.one_step import one_step


@pytest.fixture
def folder(tiny_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    shipped.ship(tiny_bundle, "brain", {"results.md": "Table of results\n"}, tmp_path)
    return tmp_path


def test_nothing_is_left_of_an_earlier_model(folder: Path, tiny_bundle: Path) -> None:
    stale = folder / "brain/configs/calibration.json"
    stale.write_text("{}")
    before = {path for path in folder.rglob("*") if path.is_file()}
    shipped.ship(tiny_bundle, "brain", {"results.md": "Another table\n"}, folder)
    assert {path for path in folder.rglob("*") if path.is_file()} == before - {stale}
    assert (folder / "brain/docs/results.md").read_text() == "Another table\n"


def test_a_shipped_model_is_half_as_large_and_reconstructs_alike(folder: Path, tiny_bundle: Path) -> None:
    sizes = [(path / "models/model.safetensors").stat().st_size for path in (folder / "brain", tiny_bundle)]
    assert sizes[0] < 0.51 * sizes[1]
    scan = open_scans(load_spec("brain_demo"), "test", limit=1)[0]
    with torch.inference_mode():
        halved, whole = (one_step(load_bundle(path).prior, scan) for path in (folder / "brain", tiny_bundle))
    assert 0 < float((halved - whole).norm() / whole.norm()) < 5e-3


def test_names_stand_where_bundles_do(folder: Path, tiny_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert shipped.located("brain") == folder / "brain"
    assert shipped.located(str(tiny_bundle)) == tiny_bundle
    assert shipped.called(folder / "brain") == "brain"
    assert shipped.called(tiny_bundle) == str(tiny_bundle)
    assert load_bundle("brain").path == folder / "brain"
    assert main(["models", "list"]) == 0
    assert "brain  Synthetic multi-coil brains" in capsys.readouterr().out
    assert main(["models", "show", "brain"]) == 0
    shown = capsys.readouterr().out
    assert "Training masks" in shown
    assert "Table of results" in shown
    assert main(["sample", "brain", "-n", "1", "--steps", "1", "--out", str(folder / "samples")]) == 0
    assert (folder / "samples" / "samples.npy").is_file()


def test_an_unknown_name_says_what_is_needed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "show", "heart"]) == 2
    assert "no model bundle here" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(shipped.shipped()))
def test_models_of_the_package_are_small_and_say_what_they_are(name: str) -> None:
    path = shipped.shipped()[name]
    assert sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) < 12e6
    card = load_bundle(path).card
    assert card.learned_from == "from corrupted scans only"
    assert (path / "docs/results.md").is_file()
    assert (path / "docs/audit.md").is_file()


@pytest.mark.parametrize("name", ["trained", *sorted(shipped.shipped())])
def test_monai_runs_a_bundle_by_the_method_that_fits_it(
    name: str, tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shipped.shipped().get(name, tiny_bundle)
    asked: dict[str, Any] = {}
    monkeypatch.setattr(batch, "reconstruct", lambda **arguments: asked.update(arguments))
    run(config_file=str(path / "configs/inference.json"), files=["scan.h5"])
    assert asked.pop("method") is None, "a refined model refuses what an ambient one is asked"
    assert asked == {"bundle_path": ".", "files": ["scan.h5"], "out": "reconstructions", "device": "cpu"}


def test_the_refined_model_comes_with_calibrated_deviations() -> None:
    path = shipped.shipped()["brain_flair_64_refined"]
    found = load_calibration(path, weights_sha256(path))
    assert found is not None, "of other weights"
    usual = Posterior(default_method(path), load_bundle(path), Sampling())
    assert found.differs(usual.method, usual.sampling.samples, usual.nfe, None) == "", "as `reconstruct` draws them"
    assert found.coverage[0] == pytest.approx(found.level, abs=0.02)


@pytest.mark.parametrize(
    ("name", "data", "count"), [("brain_flair_64", "brain_bids", 6), ("brain_128", "brain_bids_128", 3)]
)
def test_the_brain_models_reconstruct_patients_they_never_saw(
    name: str, data: str, count: int, real_data: Path
) -> None:
    from ambient_mri.data.dataset import open_evaluation
    from ambient_mri.evaluation.metrics import psnr
    from ambient_mri.measurement import collate

    if not (real_data / "brain_bids").is_dir():
        pytest.skip("brain_bids is not there")
    pairs = list(open_evaluation(load_spec(data), "test", limit=count))
    batch, truth = collate([scan for scan, _ in pairs]), torch.cat([image for _, image in pairs])[:, 0].abs().numpy()
    bundle = load_bundle(shipped.located(name))
    runs = {method: reconstruction(method, bundle) for method in ("one-step-averaged", "one-step", "tv")}
    images = {method: run(batch, 0.00225 if method == "tv" else None) for method, run in runs.items()}
    found = {
        method: sum(psnr(truth[[i]], image[[i], 0].abs().numpy()) for i in range(count)) / count
        for method, image in images.items()
    }
    assert found["one-step"] > found["tv"] + 4, found
    assert found["one-step-averaged"] > found["one-step"] + 0.1, found


@pytest.mark.slow
def test_a_refined_brain_model_samples_scans_on_lines_and_on_spokes(
    real_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ambient_mri.data.dataset import open_evaluation
    from ambient_mri.evaluation import observed, radial
    from ambient_mri.evaluation.metrics import psnr
    from ambient_mri.reconstruction import noncartesian
    from ambient_mri.reconstruction.classical import total_variation

    if not (real_data / "brain_bids").is_dir():
        pytest.skip("brain_bids is not there")
    bundle = load_bundle(shipped.located("brain_flair_64_refined"))
    scan, image = open_evaluation(load_spec("brain_bids"), "test", limit=1)[0]
    truth = image[:, 0].abs()

    def score(found: torch.Tensor) -> float:
        return psnr(truth.numpy(), found[:, 0].abs().numpy())

    quick = partial(Sampling, nfe=8)
    lines = Posterior("mmps", bundle, quick(samples=2)).draw(scan, None).mean
    assert score(lines) > score(total_variation(scan, 0.00225)) + 3

    spokes = noncartesian.golden_angle(16, scan.image_shape)
    seen = radial.simulated(scan, image, spokes, torch.Generator().manual_seed(0))
    assert scan.sensitivity_maps is not None
    one = observed.Scan(seen, scan.sensitivity_maps, truth[:, None], scan.scan_ids, "patient")
    methods = observed.usual_methods(bundle)
    assert list(methods) == ["mmps", "cg-sense", "l1-wavelet", "tv"]
    assert methods["mmps"].start is None
    assert methods["mmps"].evaluations == 48
    monkeypatch.setattr(observed, "Sampling", quick)
    methods = observed.usual_methods(bundle)
    found = {name: score(methods[name].run(one, strength)) for name, strength in (("mmps", 0.0), ("tv", 0.003))}
    assert found["mmps"] > found["tv"] + 1, found

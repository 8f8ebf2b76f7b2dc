"""Evaluation on the built-in cohort and on real slices, with classical methods and a stand-in for a prior."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from ambient_mri.data.dataset import open_evaluation
from ambient_mri.data.spec import DataSpec, load_spec
from ambient_mri.errors import InputError
from ambient_mri.evaluation import evaluate as module
from ambient_mri.evaluation import scoring
from ambient_mri.evaluation.contenders import contenders
from ambient_mri.evaluation.evaluate import evaluate
from ambient_mri.evaluation.results import Evaluation
from ambient_mri.evaluation.scoring import batches
from ambient_mri.measurement import Measurement
from ambient_mri.operators import Masked
from ambient_mri.prior.bundle import load_bundle
from ambient_mri.prior.preconditioning import AmbientPrior
from ambient_mri.prior.shipped import located
from ambient_mri.reconstruction import estimates, methods
from ambient_mri.reconstruction.posterior import Sampling
from ambient_mri.report.evaluation_page import evaluation_page
from ambient_mri.report.table import evaluation_markdown


def _small(name: str = "brain_demo") -> DataSpec:
    spec = load_spec(name)
    source = spec.source.model_copy(update={"image_size": 32})
    return spec.model_copy(update={"source": source})


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    return evaluate(
        None, _small(), accelerations=(2.0, 4.0), methods=("zero-filled", "cg-sense", "tv", "biharmonic"), limit=6,
        tuning_slices=4,
    )  # fmt: skip


def test_rows_are_complete_and_plausible(evaluation: Evaluation) -> None:
    names = [(row.acceleration, row.method) for row in evaluation.rows]
    assert names == [(rate, name) for rate in (2.0, 4.0) for name in ("zero-filled", "cg-sense", "tv")]
    by_name = dict(zip(names, evaluation.rows, strict=True))
    for row in evaluation.rows:
        assert row.psnr.low <= row.psnr.mean <= row.psnr.high
        assert 0 < row.ssim.mean <= 1
        assert 0 < row.nmse.mean < 1
        assert row.nmse.mean < row.features.mean < 3, "of amplitudes, not energies"
        assert row.nfe == 0
        assert row.seconds_per_slice > 0
        assert (row.strength is None) == (row.method == "zero-filled")
    for rate in (2.0, 4.0):
        assert (
            by_name[rate, "tv"].psnr.mean > by_name[rate, "cg-sense"].psnr.mean > by_name[rate, "zero-filled"].psnr.mean
        )
        strength, curve = by_name[rate, "tv"].strength, by_name[rate, "tv"].tuning
        assert strength is not None
        assert curve[0][0] < strength < curve[-1][0], "the best strength must be interior"
        assert max(curve, key=lambda point: point[1])[0] == pytest.approx(strength)
    assert by_name[2.0, "tv"].psnr.mean > by_name[4.0, "tv"].psnr.mean
    assert (evaluation.slices, evaluation.patients, evaluation.tuning_slices) == (6, 6, 4)
    assert evaluation.simulated
    assert evaluation.data_sha256 == _small().sha256


def test_default_methods_suit_the_bundle(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ambient = methods.load(tiny_bundle, "cpu")
    refined = replace(ambient, card=ambient.card.model_copy(update={"method": "refined"}))
    assert methods.default_methods(ambient) == methods.METHODS
    assert not any(map(methods.needs_network, methods.default_methods(None)))
    monkeypatch.setattr(methods, "load", lambda *_: refined)
    found = evaluate(tiny_bundle, _small(), limit=2, tuning_slices=1, sampling=Sampling(samples=1, nfe=4))
    assert [row.method for row in found.rows] == ["mmps", "zero-filled", "cg-sense", "l1-wavelet", "tv"]
    assert "--methods mmps,zero-filled" in found.command
    assert f"--tuning-slices {found.tuning_slices}" in found.command
    assert "--samples 1 --nfe 4" in found.command
    for name in methods.default_methods(refined):
        methods.reconstruction(name, refined)


def test_json_returns_the_same_evaluation(evaluation: Evaluation) -> None:
    assert Evaluation.from_json(evaluation.to_json()) == evaluation
    with pytest.raises(InputError, match="not the JSON"):
        Evaluation.from_json("{}")


def test_examples_hold_the_truth_and_every_method(evaluation: Evaluation) -> None:
    assert [example.acceleration for example in evaluation.examples] == [2.0] * 4 + [4.0] * 4
    for example in evaluation.examples:
        assert example.truth.shape == (32, 32)
        assert set(example.images) == {"zero-filled", "cg-sense", "tv"}
        assert all(np.isfinite(image).all() and image.min() >= 0 for image in example.images.values())
    assert "truth" not in evaluation.to_json()


def test_figures_do_not_depend_on_the_batch(evaluation: Evaluation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "BATCH", 3)
    again = evaluate(None, _small(), accelerations=(4.0,), methods=("cg-sense",), limit=6, tuning_slices=4)
    row = next(row for row in evaluation.rows if (row.acceleration, row.method) == (4.0, "cg-sense"))
    assert again.rows[0].psnr.mean == pytest.approx(row.psnr.mean, abs=1e-3)


@pytest.mark.parametrize("method", ["one-step", "one-step-averaged", "one-step-tv"])
def test_no_strength_asks_the_network_again(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    denoise = AmbientPrior.denoise

    def counted(self: AmbientPrior, x_in: torch.Tensor, sigma: torch.Tensor, given: Masked) -> torch.Tensor:
        calls.append(len(x_in))
        return denoise(self, x_in, sigma, given)

    monkeypatch.setattr(AmbientPrior, "denoise", counted)
    bundle = load_bundle(located("brain_flair_64"))
    (contender,) = contenders(bundle, "kspace", [method], None).values()
    held = list(batches(open_evaluation(_small(), "validation", limit=2), "cpu"))
    tuned = contender.tuned(held)
    assert len(tuned.curve) > 5
    assert sum(calls) == 2 * contender.run.evaluations
    image = contender.run(held[0].measurement, tuned.strength)
    again = contender.run.begin(held[0].measurement)
    again(10 * (tuned.strength or 1))
    assert torch.equal(again(tuned.strength), image), "whatever was tried before"


def test_a_quicker_form_compares_strengths_only_where_there_is_one() -> None:
    bundle = load_bundle(located("brain_flair_64"))
    for samples in (1, 2, 8):
        made = contenders(bundle, "kspace", ["a-fill", "tv"], Sampling(samples=samples))
        assert made["tv"].quick is made["tv"].run
        assert (made["a-fill"].quick is made["a-fill"].run) == (samples < 8)
        assert made["a-fill"].quick.evaluations == min(samples, 2) * 5


def test_strengths_are_tuned_on_validation_and_gains_are_paired(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, float | None]] = []

    def fake(bundle: object) -> methods.Reconstruct:
        def run(measurement: Measurement, strength: float | None) -> torch.Tensor:
            asked.extend((scan_id, strength) for scan_id in measurement.scan_ids)
            return 1.02 * methods.reconstruction("tv", None)(measurement, 0.003)

        return estimates.Estimate(lambda measurement: partial(run, measurement), 1)

    monkeypatch.setattr(estimates, "by_one_step", fake)
    model = load_bundle(located("brain_flair_64"))
    monkeypatch.setattr(methods, "load", lambda path, device, domain: model)
    spec = _small()
    found = evaluate(None, spec, accelerations=(4.0,), methods=("one-step", "tv", "cg-sense"), limit=6, tuning_slices=4)
    gain = found.gains[0]
    assert gain.rival == "tv"
    # Two nearly equal methods: the paired interval is far narrower than that of either.
    tv = next(row for row in found.rows if row.method == "tv")
    assert gain.psnr.high - gain.psnr.low < 0.3 * (tv.psnr.high - tv.psnr.low)
    assert found.rows[0].nfe == 1
    on_test = {scan_id for scan_id, _ in asked[-6:]}
    tuned = {scan_id for scan_id, _ in asked[:-6]}
    assert len({strength for _, strength in asked[-6:]}) == 1
    assert not tuned & on_test


def test_unknown_methods_and_missing_bundles_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a method"):
        evaluate(None, _small(), methods=("magic",))
    with pytest.raises(InputError, match="trained bundle"):
        module.weights_sha256(tmp_path)


@pytest.mark.parametrize("name", ["brain_bids_pixels", "brain_bids_blocks"])
def test_missing_pixels_of_real_slices(real_data: Path, name: str) -> None:
    found = evaluate(
        None, _small(name), methods=("zero-filled", "cg-sense", "tv", "biharmonic"), limit=4, tuning_slices=4
    )
    figures = {row.method: row.psnr.mean for row in found.rows}
    assert set(figures) == {"zero-filled", "tv", "biharmonic"}
    assert min(figures["tv"], figures["biharmonic"]) > figures["zero-filled"] + 3


def test_a_refined_model_of_kspace_fills_in_pixels(real_data: Path) -> None:
    """It learned of whole images, which no mask and no coil is part of."""
    spec = load_spec("brain_bids_pixels")
    found = evaluate(located("brain_flair_64_refined"), spec, methods=("mmps", "biharmonic"), limit=1,
                     tuning_slices=1, sampling=Sampling(samples=2, nfe=6))  # fmt: skip
    figures = {row.method: row.psnr.mean for row in found.rows}
    assert figures["mmps"] > figures["biharmonic"] + 1


def test_pixels_take_an_acceleration_as_the_share_that_is_measured(real_data: Path) -> None:
    found = evaluate(
        None, _small("brain_bids_pixels"), accelerations=(2.5, 5.0), methods=("tv",), limit=3, tuning_slices=3
    )
    assert [row.acceleration for row in found.rows] == [2.5, 5.0]
    assert found.rows[0].psnr.mean > found.rows[1].psnr.mean + 1


def test_volumes_of_several_slices_are_one_figure_each() -> None:
    spec = _small()
    spec = spec.model_copy(update={"source": spec.source.model_copy(update={"slices": 2})})
    found = evaluate(None, spec, accelerations=(4.0,), methods=("zero-filled",), limit=6, tuning_slices=2)
    assert (found.slices, found.volumes, found.patients) == (6, 3, 3)
    assert replace(found, rows=()).rows == ()


def test_one_step_of_a_bundle_beside_a_rival(tiny_bundle: Path) -> None:
    lines: list[str] = []
    spec = load_spec("brain_demo")
    found = evaluate(
        tiny_bundle, spec, accelerations=(4.0,), methods=("one-step", "cg-sense"), limit=4, progress=lines.append
    )
    assert found.rows[0].nfe == 1
    assert found.tuning_slices == 4
    assert found.gains[0].rival == "cg-sense"
    assert found.bundle_sha256 == module.weights_sha256(tiny_bundle)
    assert not any("another spec" in line for line in lines)
    assert Evaluation.from_json(found.to_json()) == found
    evaluate(tiny_bundle, _small(), accelerations=(4.0,), methods=("one-step",), limit=2, progress=lines.append)
    assert any("another spec" in line for line in lines)


def test_a_model_of_the_other_domain_is_refused(tiny_bundle: Path) -> None:
    with pytest.raises(InputError, match="trained on k-space"):
        evaluate(tiny_bundle, load_spec("brain_bids_pixels"), methods=("one-step",), limit=2)


def test_the_patients_of_the_training_are_said_to_be_those(tiny_bundle: Path) -> None:
    who = {split: evaluate(tiny_bundle, _small(), split=split, methods=("zero-filled", "one-step"), limit=2,
                           tuning_slices=1) for split in ("train", "test")}  # fmt: skip
    assert who["train"].scans == "2 slices of 2 patients in the train split, from which models of this spec learn"
    assert who["test"].scans == "2 slices of 2 patients in the test split"
    for text in (evaluation_markdown(who["train"]), evaluation_page(who["train"])):
        assert "from which models of this spec learn" in text
    assert who["train"].rows[0].psnr != who["test"].rows[0].psnr, "other patients"
    assert "--split train" in who["train"].command


def test_the_solve_that_asks_for_edges_uses_one_evaluation(tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ambient_mri.evaluation.tuning.STEPS_PER_DECADE", 2)
    spec = load_spec("brain_demo")
    found = evaluate(
        tiny_bundle, spec, accelerations=(4.0,), methods=("one-step", "one-step-tv", "tv"), limit=4, tuning_slices=2
    )
    assert [row.nfe for row in found.rows] == [1, 1, 0]
    assert found.gains[0].method in ("one-step", "one-step-tv")
    assert found.rows[1].psnr.mean > found.rows[0].psnr.mean

"""A refinement on disk: it resumes, redoes nothing, refuses what does not fit, and its bundle is a proper prior."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from ambient_mri.cli import main
from ambient_mri.data.dataset import open_evaluation, open_scans
from ambient_mri.data.spec import load_spec
from ambient_mri.errors import InputError
from ambient_mri.measurement import Measurement, collate
from ambient_mri.operators import Masked
from ambient_mri.prior import imputed, maximisation, training
from ambient_mri.prior.bundle import Bundle, load_bundle
from ambient_mri.prior.imputed import Imputed
from ambient_mri.prior.learner import Learner, Length
from ambient_mri.prior.refinement import RefineOptions, refine
from ambient_mri.prior.steps import Draw
from ambient_mri.reconstruction import methods
from ambient_mri.reconstruction.imputation import posterior
from ambient_mri.reconstruction.posterior import Posterior, Sampling
from ambient_mri.sampling.proper import WholeImages, proper_prior

SMALL = """
based_on: brain_demo
source: {subjects: 10, image_size: 16}
acquisition: {pattern: {calibration_fraction: 0.125, acceleration: 2}}
split: {validation: 2, test: 2}
"""


@pytest.fixture(scope="module", autouse=True)
def _small_batches() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(imputed, "PART", 4)
        yield


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "small.yaml"
    path.write_text(SMALL)
    return path


@pytest.fixture(scope="module")
def start(spec: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("start")
    return training.train(training.TrainOptions(str(spec), out, steps=2, preset="tiny", precision="float32"))


@pytest.fixture(scope="module")
def options(spec: Path, start: Path) -> RefineOptions:
    return RefineOptions(start, str(spec), Path(), laps=2, steps=3, batch_size=4, nfe=2)


@pytest.fixture(scope="module")
def refined(options: RefineOptions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("refined")
    return refine(replace(options, out=out), posterior(1, options.nfe))


def _weights(bundle: Path) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = load_file(bundle / "models/model.safetensors")
    return weights


class Air:
    """A prior that knows there is nothing but air."""

    def denoise(self, x_in: Tensor, sigma: Tensor, given: Masked) -> Tensor:
        return torch.zeros_like(x_in)


def test_the_first_e_step_keeps_the_noise_of_scans_out_of_its_images(spec: Path, start: Path) -> None:
    """Else the M-step learns noise: its samples had a grey background."""
    scans, bundle = open_scans(load_spec(str(spec)), "train"), load_bundle(start)
    batch = collate([scans[i] for i in range(2)])
    assert not posterior(2, None)(replace(bundle, prior=Air()), "a-fill", batch, 0).any()
    solved = Posterior("a-fill", replace(bundle, prior=Air()), Sampling(2)).draw(batch, None)
    assert solved.samples.abs().max() > 0


def test_the_bundle_is_proper_and_its_card_says_how(refined: Path, start: Path) -> None:
    bundle = load_bundle(refined)
    assert bundle.card.method == "refined"
    assert bundle.card.initialised_from == str(start)
    assert [lap.sampler for lap in bundle.card.refinement] == ["a-fill", "mmps"]
    assert bundle.card.refinement[0].variance_ratio == 1
    assert all(lap.effective_number > 1 for lap in bundle.card.refinement)
    assert bundle.card.steps == 2 + 3 + 3
    assert bundle.card.batch_size == 4
    assert "| 1 | mmps | 3 |" in (refined / "docs/README.md").read_text()
    x = proper_prior(bundle).expect(torch.zeros(2, 1, 16, 16, dtype=torch.complex64), torch.tensor([0.1, 1.0]))
    assert x.shape == (2, 1, 16, 16)
    assert any(not torch.equal(a, _weights(start)[name]) for name, a in _weights(refined).items())


def test_samplers_take_it_and_masked_methods_refuse_it(refined: Path, spec: Path, tmp_path: Path) -> None:
    scan = open_evaluation(load_spec(spec), "test", limit=1)[0][0]
    bundle = load_bundle(refined)
    for name in ("mmps", "dds", "ddrm", "dps"):
        image = methods.reconstruction(name, bundle, Sampling(samples=2, nfe=2))(scan, None)
        assert bool(image.isfinite().all())
    for name in ("one-step", "one-step-tv", "a-fill", "a-dps"):
        with pytest.raises(InputError, match="refined model knows"):
            methods.reconstruction(name, bundle)
    assert main(["sample", str(refined), "-n", "2", "--steps", "2", "--out", str(tmp_path)]) == 0


def test_the_network_may_grow(options: RefineOptions, start: Path, tmp_path: Path) -> None:
    """From the first M-step on, and from what it knows: a step of no length leaves its answers as they were."""
    grown = replace(options, out=tmp_path, preset="small", steps=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Learner, "rate", lambda learner, progress: 0.0)
        before, after = load_bundle(start), load_bundle(refine(grown, posterior(1, options.nfe)))
    assert (before.card.preset, after.card.preset) == ("tiny", "small")
    x, sigma = torch.ones(1, 1, 16, 16, dtype=torch.complex64), torch.tensor([0.5])
    known = WholeImages(before.prior, coils=True).expect(x, sigma)
    torch.testing.assert_close(WholeImages(after.prior, coils=True).expect(x, sigma), known, atol=1e-3, rtol=1e-3)


def test_a_network_that_cannot_grow_is_refused_before_anything_is_drawn(options: RefineOptions, tmp_path: Path) -> None:
    draw, asked = _counting()
    with pytest.raises(InputError, match="of preset tiny, cannot become one of base"):
        refine(replace(options, out=tmp_path, preset="base"), draw)
    assert not asked
    assert not list(tmp_path.iterdir())


class Killed(RuntimeError):
    pass


def _counting(limit: int | None = None) -> tuple[Callable[[Bundle, str, Measurement, int], Tensor], list[str]]:
    """The sampler, dying at a call, and the names of the scans that it was asked for."""
    run, asked = posterior(1, 2), []

    def draw(model: Bundle, name: str, scans: Measurement, seed: int) -> Tensor:
        if limit is not None and len(asked) >= limit:
            raise Killed
        asked.append(scans.scan_ids[0])
        return run(model, name, scans, seed)

    return draw, asked


@pytest.mark.parametrize(
    "calls",
    [
        pytest.param(1, id="in the first E-step"),
        pytest.param(3, id="before the validation", marks=pytest.mark.slow),
        pytest.param(5, id="in the second E-step", marks=pytest.mark.slow),
    ],
)
def test_a_killed_refinement_continues(calls: int, options: RefineOptions, refined: Path, tmp_path: Path) -> None:
    """Whole: 2 parts, 1 validation, training, 1 validation, a lap. Kills lose nothing that was finished."""
    parted = replace(options, out=tmp_path)
    with pytest.raises(Killed):
        refine(parted, _counting(calls)[0])
    draw, asked = _counting()
    bundle = refine(parted, draw)
    assert len(asked) == 8 - calls, "nothing is drawn twice"
    for name, value in _weights(refined).items():
        assert torch.equal(value, _weights(bundle)[name]), name
    assert load_bundle(bundle).card.refinement == tuple(
        lap.model_copy(update={"minutes": other.minutes})
        for lap, other in zip(load_bundle(refined).card.refinement, load_bundle(bundle).card.refinement, strict=True)
    )


def test_a_kill_in_the_m_step_resumes_at_its_checkpoint(
    options: RefineOptions, refined: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_STEPS", 2)
    saved, parted = maximisation.save_checkpoint, replace(options, out=tmp_path)

    def save_then_die(folder: Path, learner: object) -> None:
        saved(folder, learner)  # type: ignore[arg-type]
        raise Killed

    monkeypatch.setattr(maximisation, "save_checkpoint", save_then_die)
    with pytest.raises(Killed):
        refine(parted, posterior(1, 2))
    assert int(load_file(tmp_path / "lap_00/checkpoint.safetensors")["step"]) == 2
    monkeypatch.setattr(maximisation, "save_checkpoint", saved)
    again, asked = _counting()
    bundle = refine(parted, again)
    assert len(asked) == 5
    for name, value in _weights(refined).items():
        assert torch.equal(value, _weights(bundle)[name]), name


@pytest.mark.slow
def test_more_laps_continue_and_finished_images_are_gone(options: RefineOptions, refined: Path, tmp_path: Path) -> None:
    assert not list(refined.parent.rglob("images/*"))
    draw, asked = _counting()
    refine(replace(options, out=tmp_path, laps=1), draw)
    assert len(asked) == 4
    bundle = refine(replace(options, out=tmp_path), draw)
    assert len(asked) == 8
    assert len(load_bundle(bundle).card.refinement) == 2
    record = json.loads((tmp_path / "lap_01/e_step.json").read_text())
    assert record.keys() == {"variance", "effective_number", "withheld_nmse"}


def test_laps_of_a_refined_model_go_on_from_its_own(
    options: RefineOptions, refined: Path, start: Path, tmp_path: Path
) -> None:
    again = replace(options, bundle=refined, out=tmp_path, laps=1, steps=1)
    card = load_bundle(refine(again, posterior(1, options.nfe))).card
    assert [lap.lap for lap in card.refinement] == [0, 1, 2]
    assert card.initialised_from == str(start), "the ambient model; the laps since are all in the card"


def test_another_refinement_in_the_same_folder_and_other_data_are_refused(
    options: RefineOptions, refined: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="seed = 0, now asked for 1"):
        refine(replace(options, out=refined.parent, seed=1), posterior(1, 2))
    pixels = tmp_path / "pixels.yaml"
    pixels.write_text(
        f"based_on: {options.data}\nacquisition: {{domain: image, coils: 1, phase: none, "
        "pattern: {kind: pixels, missing: 0.5}}\n"
    )
    with pytest.raises(InputError, match="the scans are pixels"):
        refine(replace(options, out=tmp_path / "out", data=str(pixels)), posterior(1, 2))


def test_the_card_is_of_the_scans_that_it_was_refined_on(options: RefineOptions, tmp_path: Path) -> None:
    """It named them with the licence and the numbers of those before, and so did LICENSE."""
    other = tmp_path / "other.yaml"
    other.write_text(f"based_on: {options.data}\nlicence: not to be shared\nacquisition: {{noise_std: 0.05}}\n"
                     "source: {subjects: 8}\nsplit: {validation: 3, test: 2}\n")  # fmt: skip
    spec = load_spec(str(other))
    bundle = refine(replace(options, data=str(other), out=tmp_path / "out", laps=1, steps=1), posterior(1, 2))
    card, before = load_bundle(bundle).card, load_bundle(options.bundle).card
    assert (card.data, card.licence, card.slices, card.patients) == ("other", "not to be shared", 3, 3)
    assert "not to be shared" in (bundle / "LICENSE").read_text()
    assert card.acquisition == spec.acquisition
    assert card.noise_std > 2 * before.noise_std
    assert card.identifiability == before.identifiability


@pytest.mark.parametrize("size", [3, 5])
def test_steps_take_as_many_images_as_asked(size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[int] = []

    class Watched:
        step, seconds = 0, 0.0

        def update(self, batch: Measurement, drawn: Draw, done: float) -> float:
            taken.append(len(batch))
            self.step += 1
            return 0.0

    monkeypatch.setattr(maximisation, "save_checkpoint", lambda folder, learner: None)
    monkeypatch.setattr(maximisation, "resume", lambda folder, learner: False)
    scans = open_scans(load_spec("brain_demo"), "train", limit=4)
    images = Imputed(tmp_path, scans, 2, coils=True)
    images.fill(lambda batch: torch.zeros(len(batch), 2, 16, 16) + 0j)
    maximisation.maximise(tmp_path, cast(Learner, Watched()), images, Length(steps=2), size, 0)
    assert taken == [size, size]


def test_several_images_a_scan(options: RefineOptions, spec: Path, tmp_path: Path) -> None:
    from ambient_mri.data.dataset import open_scans

    scans = open_scans(load_spec(spec), "train", limit=3)
    images = Imputed(tmp_path, scans, 2, coils=True)
    images.fill(lambda batch: torch.arange(2.0).expand(len(batch), 16, 16, 2).permute(0, 3, 1, 2) + 0j)
    assert len(images) == 6
    assert [int(images.image(i).real.mean()) for i in range(6)] == [0, 1, 0, 1, 0, 1]
    assert images[5].scan_ids == scans[2].scan_ids
    assert torch.allclose(images[5].adjoint(), images.image(5), atol=1e-6)
    with pytest.raises(InputError, match="not finite"):
        Imputed(tmp_path / "bad", scans, 1, coils=True).fill(
            lambda batch: torch.full((len(batch), 1, 16, 16), torch.nan) + 0j
        )
    assert not (tmp_path / "bad").exists()

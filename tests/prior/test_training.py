"""A training resumes to the same bits, refuses what cannot work, and never reads what was not measured."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ambient_mri.corruption import FurtherCorruption
from ambient_mri.data.dataset import open_scans
from ambient_mri.data.spec import load_spec
from ambient_mri.errors import InputError
from ambient_mri.measurement import Measurement, collate
from ambient_mri.operators import Masked
from ambient_mri.patterns import RandomLines
from ambient_mri.prior import steps, training
from ambient_mri.prior.bundle import load_bundle
from ambient_mri.prior.checkpoint import settle
from ambient_mri.prior.feed import Prepared, compared, feed
from ambient_mri.prior.learner import PEAK_RATE
from ambient_mri.prior.network import architecture, build_network
from ambient_mri.prior.objective import ambient_loss
from ambient_mri.prior.steps import Batches, Place, draw
from ambient_mri.prior.training import TrainOptions, dry_run, train
from ambient_mri.randomness import stream
from tests.prior.small import SPEC

OPTIONS = TrainOptions(data="brain_demo", out=Path(), preset="tiny", steps=4, precision="float32")


@pytest.fixture(scope="module")
def scans() -> list[Measurement]:
    data = open_scans(load_spec("brain_demo"), "train", limit=8)
    return [data[i] for i in range(8)]


def test_resumed_training_equals_the_uninterrupted_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "CHECKPOINT_STEPS", 2)
    (tmp_path / "small.yaml").write_text(SPEC)
    options = replace(OPTIONS, data=str(tmp_path / "small.yaml"))
    whole = train(replace(options, out=tmp_path / "whole"))
    parted = replace(options, out=tmp_path / "parted")

    class Killed(RuntimeError):
        pass

    saved = training.save_checkpoint

    def save_then_die(folder: Path, learner: object) -> None:
        saved(folder, learner)  # type: ignore[arg-type]
        raise Killed

    monkeypatch.setattr(training, "save_checkpoint", save_then_die)
    with pytest.raises(Killed):
        train(parted)
    monkeypatch.setattr(training, "save_checkpoint", saved)
    assert int(load_file(parted.out / "checkpoint.safetensors")["step"]) == 2
    resumed = train(parted)
    for name, value in load_file(whole / "models/model.safetensors").items():
        assert torch.equal(value, load_file(resumed / "models/model.safetensors")[name]), name


def test_every_place_of_a_training_draws_by_its_step_and_position() -> None:
    """One scan in every place: what differs between places is what each draws."""
    data = open_scans(load_spec("brain_demo"), "train", limit=2)
    prepared = Prepared(data, data.further(), seed=3, method="ambient")
    made = {step: prepared.__getitems__([Place(step, position, 1) for position in range(4)]) for step in (5, 6)}
    for step, batch in made.items():
        assert isinstance(batch, tuple)
        for position in range(4):
            alone = draw(data[1], data.further(), [stream(3, "training", step, position)])
            assert torch.equal(batch[1].noise[position], alone.noise[0])
            assert torch.equal(batch[1].sigma[position], alone.sigma[0])
            assert torch.equal(batch[1].further.weight[position], alone.further.weight[0])
    noises = torch.cat([batch[1].noise for batch in made.values() if isinstance(batch, tuple)])
    assert len({float(noise.real.sum()) for noise in noises}) == 8


def test_the_peak_rate_is_used_and_part_of_what_a_folder_trains(tmp_path: Path) -> None:
    options = replace(OPTIONS, steps=2, out=tmp_path / "slow", peak_rate=1e-9)
    began = build_network(architecture(options.preset), options.seed).state_dict()
    bundle = train(options)
    slow = load_file(bundle / "models/model.safetensors")
    assert load_bundle(bundle).card.peak_rate == 1e-9
    assert "learning rate up to 1e-09 |" in (bundle / "docs/README.md").read_text()
    usual = load_file(train(replace(OPTIONS, steps=2, out=tmp_path / "usual")) / "models/model.safetensors")
    assert all(torch.allclose(slow[name], began[name], atol=1e-8) for name in slow)
    assert any(not torch.allclose(usual[name], slow[name], atol=1e-6) for name in slow)
    with pytest.raises(InputError, match="peak_rate"):
        train(replace(options, peak_rate=3e-4))


def test_a_folder_that_names_no_peak_rate_was_trained_at_the_usual_one(tmp_path: Path) -> None:
    """Trainings that were begun before it could be chosen are resumed."""
    (tmp_path / "run.json").write_text('{"seed": 0}')
    settle(tmp_path, {"seed": 0, "peak_rate": PEAK_RATE})
    with pytest.raises(InputError, match=r"peak_rate = 0\.001"):
        settle(tmp_path, {"seed": 0, "peak_rate": 3e-4})


def test_workers_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where every scan is mirrored and shifted, and an epoch of the engine ends within the run."""
    monkeypatch.setattr(training, "VALIDATION_STEPS", 2)
    spec = tmp_path / "moved.yaml"
    spec.write_text("based_on: brain_demo\nsymmetry: {mirror: true, shift: 2}\n")
    options = replace(OPTIONS, data=str(spec), steps=3, batch_size=4)
    first, second = (
        load_file(train(replace(options, out=tmp_path / str(n), workers=n)) / "models/model.safetensors")
        for n in (0, 2)
    )
    assert all(torch.equal(value, second[name]) for name, value in first.items())


@pytest.mark.parametrize("workers", [0, 2])
def test_a_scan_that_cannot_be_used_is_named_by_workers_too(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    data = open_scans(load_spec("brain_demo"), "train", limit=8)
    prepared = Prepared(data, data.further(), seed=0, method="ambient")

    def refuse(self: object, index: int) -> Measurement:
        raise InputError("not a brain", where="scan 7", remedy="Leave it out")

    monkeypatch.setattr(type(data), "__getitem__", refuse)
    with pytest.raises(InputError, match=r"^scan 7: not a brain\. Leave it out"):
        next(feed(prepared, Batches(8, 4, seed=0), workers, "cpu"))


def test_a_killed_worker_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    data = open_scans(load_spec("brain_demo"), "train", limit=8)
    prepared = Prepared(data, data.further(), seed=0, method="ambient")
    monkeypatch.setattr(type(data), "__getitem__", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(InputError, match=r"--workers: a worker .* was killed"):
        next(feed(prepared, Batches(8, 4, seed=0), 1, "cpu"))


@pytest.mark.slow
def test_ten_kills_lose_at_most_one_checkpoint_interval_each(tmp_path: Path) -> None:
    spec = tmp_path / "small.yaml"
    spec.write_text(SPEC)
    program = (
        "from ambient_mri.prior import training; from pathlib import Path; training.CHECKPOINT_STEPS = 2;"
        f"training.train(training.TrainOptions({str(spec)!r}, Path({str(tmp_path)!r}), steps=1000, preset='tiny'))"
    )
    checkpoint, moments = tmp_path / "checkpoint.safetensors", random.Random(0)

    def step() -> int:
        return int(load_file(checkpoint)["step"]) if checkpoint.exists() else 0

    context = multiprocessing.get_context("forkserver")  # which imports once what ten processes run
    context.set_forkserver_preload(["ambient_mri.prior.training", "monai.engines", "torch._dynamo"])
    for _ in range(10):
        before, patience = step(), time.monotonic() + 120
        process = context.Process(target=exec, args=(program, {}))
        process.start()
        while step() == before and time.monotonic() < patience and process.is_alive():
            time.sleep(0.1)
        time.sleep(moments.uniform(0, 1))
        process.kill()
        process.join()
        assert step() > before, "no progress between two kills"
        assert step() % 2 == 0


def test_another_training_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    options = replace(OPTIONS, out=tmp_path, steps=1)
    train(options)
    with pytest.raises(InputError, match="seed = 0, now asked for 1"):
        train(replace(options, seed=1))


def test_unidentifiable_laws_are_refused_before_the_first_step(tmp_path: Path) -> None:
    path = tmp_path / "one_coil.yaml"
    path.write_text(
        "based_on: brain_demo\nacquisition:\n  coils: 1\n  pattern: {kind: equispaced_lines, acceleration: 4}\n"
    )
    with pytest.raises(InputError, match="never measured"):
        dry_run(replace(OPTIONS, data=str(path)))


def test_batches_are_the_same_however_they_are_shared() -> None:
    def take(batches: Batches, count: int) -> list[list[int]]:
        return [[place.scan for place in batch] for batch, _ in zip(batches, range(count), strict=False)]

    whole = take(Batches(10, 4, seed=3), 6)
    halves = [take(Batches(10, 4, seed=3, rank=rank, world=2), 6) for rank in (0, 1)]
    assert whole == [a + b for a, b in zip(*halves, strict=True)]
    assert take(Batches(10, 4, seed=3, first=4), 2) == whole[4:]
    assert sorted([scan for batch in whole for scan in batch][:10]) == list(range(10))


def test_a_draw_does_not_depend_on_the_batch(scans: list[Measurement]) -> None:
    law = FurtherCorruption(RandomLines(4), (0.25, 0.8))
    together = draw(collate(scans[:4]), law, [stream(0, "test", 5, i) for i in range(4)])
    alone = draw(scans[2], law, [stream(0, "test", 5, 2)])
    assert torch.equal(together.noise[2:3], alone.noise)
    assert torch.equal(together.sigma[2:3], alone.sigma)
    assert torch.equal(together.further.weight[2:3], alone.further.weight)
    assert bool((together.further.operator.mask.sum((1, 2, 3)) < collate(scans[:4]).mask.sum((1, 2, 3))).all())


def test_noise_levels_of_training_are_at_use_near_it_and_everywhere(scans: list[Measurement]) -> None:
    batch = collate([scans[0]] * 8)
    noise_std = float(batch.noise_std[0])
    law = FurtherCorruption(RandomLines(4), (0.25, 0.8))
    sigma = torch.cat([draw(batch, law, [stream(0, "test", step, i) for i in range(8)]).sigma for step in range(60)])
    assert float(sigma.min()) >= noise_std * (1 - 1e-6)
    at_use = (sigma / noise_std < 1 + 1e-6).float().mean()
    near = ((sigma / noise_std > 1 + 1e-6) & (sigma / noise_std < 2)).float().mean()
    assert float(at_use) == pytest.approx(steps.SHARE_AT_USE, abs=0.07)
    assert float(near) == pytest.approx(steps.SHARE_NEAR_USE, abs=0.12)
    elsewhere = 1 - steps.SHARE_AT_USE - steps.SHARE_NEAR_USE
    assert float((sigma > 10 * noise_std).float().mean()) > elsewhere / 3


def test_ssdu_draws_at_the_noise_of_the_scan_and_is_judged_on_what_was_hidden(scans: list[Measurement]) -> None:
    batch = collate(scans[:4])
    drawn = draw(batch, FurtherCorruption(RandomLines(4), (0.25, 0.8)), [stream(0, "test", 5, i) for i in range(4)])
    judged = compared(drawn, batch, "ssdu")
    assert torch.equal(judged.sigma, batch.noise_std)
    shown = judged.further.operator.mask
    assert torch.equal(judged.further.weight, drawn.further.weight * ~shown)

    class Zero:
        def denoise(self, x_in: torch.Tensor, sigma: torch.Tensor, given: Masked) -> torch.Tensor:
            return torch.zeros_like(x_in)

    A = batch.operator()
    louder = torch.where(shown, 2 * batch.y, batch.y)
    losses = [ambient_loss(Zero(), y, A, judged.further, judged.sigma, batch.noise_std, judged.noise)
              for y in (batch.y, louder)]  # fmt: skip
    assert torch.equal(*losses)
    assert bool((losses[0] > 0).all())


def test_bundle_states_what_it_is(tmp_path: Path) -> None:
    bundle = load_bundle(train(replace(OPTIONS, out=tmp_path, steps=1)))
    spec = load_spec("brain_demo")
    assert (bundle.card.data_sha256, bundle.card.simulated) == (spec.sha256, True)
    assert "SIMULATED" in (bundle.path / "docs/README.md").read_text()
    metadata = json.loads((bundle.path / "configs/metadata.json").read_text())
    required = {"version", "monai_version", "pytorch_version", "numpy_version", "task", "description", "authors"}
    assert required | {"copyright", "network_data_format", "required_packages_version"} <= metadata.keys()
    with pytest.raises(InputError, match="no model bundle"):
        load_bundle(tmp_path / "elsewhere")
    weights = bundle.path / "models/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(InputError, match="damaged"):
        load_bundle(bundle.path)

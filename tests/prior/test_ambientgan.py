"""AmbientGAN learns whole images from masked ones, resumes like every training, and its bundle draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Generator, Tensor

from ambient_mri.cli import main
from ambient_mri.corruption import Further
from ambient_mri.errors import InputError
from ambient_mri.measurement import Measurement
from ambient_mri.patterns import Pixels
from ambient_mri.prior import ambientgan, training
from ambient_mri.prior.ambientgan import AdversarialLearner, Adversaries, ImageGenerator
from ambient_mri.prior.bundle import load_bundle
from ambient_mri.prior.network import PRESETS, architecture, build_network
from ambient_mri.prior.steps import Draw
from ambient_mri.prior.training import TrainOptions, train
from ambient_mri.randomness import white
from ambient_mri.sampling.generated import load_generator
from tests.laws.reproducibility import check_global_state_untouched

SMALL = """
based_on: brain_demo
source: {subjects: 12, image_size: 16}
acquisition: {pattern: {calibration_fraction: 0.125, acceleration: 2}}
split: {validation: 2, test: 2}
"""


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> TrainOptions:
    path = tmp_path_factory.mktemp("data") / "small.yaml"
    path.write_text(SMALL)
    return TrainOptions(str(path), Path(), steps=4, preset="tiny", method="ambientgan")


@pytest.fixture(scope="module")
def bundle(options: TrainOptions, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(replace(options, out=tmp_path_factory.mktemp("gan")))


def test_resumed_training_equals_the_uninterrupted_one(
    options: TrainOptions, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second half takes a step with the gradient penalty and three without."""
    monkeypatch.setattr(training, "CHECKPOINT_STEPS", 1)
    train(replace(options, out=tmp_path, steps=1))
    resumed = train(replace(options, out=tmp_path))
    for name, value in load_file(bundle / "models/model.safetensors").items():
        assert torch.equal(value, load_file(resumed / "models/model.safetensors")[name]), name


def test_the_bundle_draws_and_does_nothing_else(bundle: Path, tmp_path: Path, capsys: object) -> None:
    import numpy as np

    assert main(["sample", str(bundle), "-n", "3", "--batch-size", "2", "--out", str(tmp_path)]) == 0
    samples = np.load(tmp_path / "samples.npy")
    assert samples.shape == (3, 16, 16)
    assert np.isfinite(samples).all()
    assert not np.allclose(samples[0], samples[1])
    with pytest.raises(InputError, match="neither denoises nor reconstructs"):
        load_bundle(bundle)
    assert "does not predict" in (bundle / "docs/README.md").read_text()
    assert not (bundle / "configs/inference.json").exists()


def test_other_bundles_have_no_generator(tiny_bundle: Path) -> None:
    with pytest.raises(InputError, match="no generator"):
        load_generator(tiny_bundle)


def test_what_one_process_cannot_do_is_refused(options: TrainOptions, bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="from random weights"):
        train(replace(options, out=tmp_path, init=bundle))
    with pytest.raises(InputError, match="at rates of its own"):
        train(replace(options, out=tmp_path, peak_rate=3e-4))
    for preset in ("tiny", "deep"):
        with pytest.raises(InputError, match="a network of other sizes"):  # a generator is no start for a denoiser
            train(replace(options, out=tmp_path, init=bundle, method="ambient", preset=preset))


@pytest.mark.parametrize("preset", list(PRESETS))
def test_as_many_parameters_as_the_diffusion_network(preset: str) -> None:
    def count(network: torch.nn.Module) -> int:
        return sum(p.numel() for p in network.parameters())

    ours = count(Adversaries(preset, (64, 64), 0))
    assert ours == pytest.approx(count(build_network(architecture(preset))), rel=0.1)


def test_odd_sizes_and_one_generator_a_sample() -> None:
    def draw(rows: Sequence[int]) -> Tensor:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            network = ImageGenerator(16, (17, 11))
        return network.draw([Generator().manual_seed(row) for row in rows])

    check_global_state_untouched(lambda: draw([0]))
    together = draw(range(3))
    assert together.shape == (3, 1, 17, 11)
    assert torch.allclose(together[1:2], draw([1]), atol=1e-6)


def _constant_images(count: int, rng: Generator) -> Measurement:
    """Flat images of value 1 or -½, half of the pixels of each measured, the others NaN."""
    value = torch.where(torch.rand(count, generator=rng) < 0.5, 1.0, -0.5)
    mask = torch.stack([Pixels(0.5).draw((8, 8), rng)[None] for _ in range(count)])
    y = value[:, None, None, None] + 0.1 * white((count, 1, 8, 8), rng)
    return Measurement(
        torch.where(mask, y, torch.nan), mask, None, torch.full((count,), 0.1), torch.ones(count), "image",
        tuple(str(i) for i in range(count)),
    )  # fmt: skip


def _trained(steps: int) -> Tensor:
    """Images of a narrow generator that was shown the halves."""
    learner = AdversarialLearner.begin(Adversaries("tiny", (8, 8), 0), seed=0)
    rng = Generator().manual_seed(1)
    for _ in range(steps):
        batch = _constant_images(16, rng)
        noise = white((16, 1, 8, 8), rng)
        everything = Further(batch.operator(), batch.mask.float())
        learner.update(batch, Draw(everything, torch.ones(16), noise), 0.0)
    with torch.no_grad():
        return learner.average.generator.draw([Generator().manual_seed(i) for i in range(200)])


@pytest.mark.slow
def test_whole_images_are_learned_from_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ambientgan.WIDTHS, "tiny", 32)
    images = _trained(700)[:, 0].real
    level = images.mean((1, 2))
    assert 0.2 < float((level > 0.25).float().mean()) < 0.8, "both kinds"
    assert float((torch.minimum((level - 1).abs(), (level + 0.5).abs()) < 0.25).float().mean()) > 0.8
    assert float(images.std((1, 2)).mean()) < 0.3, "no holes"
    assert float(images.mean(0).std()) < 0.15, "every pixel is learned from the scans that measured it"

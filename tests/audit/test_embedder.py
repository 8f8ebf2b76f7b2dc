"""The embedder learns that copies are near, from pooled patients, the same for the same seed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from ambient_mri.audit import embedder
from ambient_mri.audit.augmentation import BLENDS, EXACT, MILD, blended, random_view
from ambient_mri.audit.planting import Route, dose_response, plant, recall, standing_out
from ambient_mri.audit.quality import quality, spectrum
from ambient_mri.audit.scoring import Closest, closest_by_features
from ambient_mri.audit.search import Features, nearest, unit
from ambient_mri.data.cohort import subject
from ambient_mri.errors import InputError
from ambient_mri.randomness import stream


@pytest.fixture(scope="module")
def brains() -> Tensor:
    return torch.stack([subject(i, size=64).images[0] for i in range(24)])[:, None]


@pytest.fixture(scope="module")
def losses() -> list[float]:
    return []


@pytest.fixture(scope="module")
def network(brains: Tensor, losses: list[float]) -> embedder.Embedder:
    return embedder.train(
        brains[None], embedder.Training(steps=40, seed=0), progress=lambda step, loss: losses.append(loss)
    )


def test_size_and_unit_length(network: embedder.Embedder, brains: Tensor) -> None:
    assert 0.9e6 < sum(p.numel() for p in network.parameters()) < 3e6
    features = embedder.embed(network, brains)
    assert features.shape == (24, 128)
    assert np.linalg.norm(features, axis=1) == pytest.approx(1, abs=1e-6)
    assert embedder.embed(network, 7 * brains + 3) == pytest.approx(features, abs=1e-4)  # scale and offset tell nothing


def test_training_brings_copies_near(network: embedder.Embedder, brains: Tensor, losses: list[float]) -> None:
    def found(net: embedder.Embedder) -> float:
        copies = torch.cat([random_view(brains, stream(1, "test", i)) for i in range(5)])
        index = nearest(embedder.embed(net, copies), embedder.embed(net, brains), 1).index[:, 0]
        return float((index == np.tile(np.arange(24), 5)).mean())

    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.5
    assert found(network) > found(embedder.build(0)) + 0.1


def test_equal_seeds_give_equal_weights_and_leave_global_randomness_alone(brains: Tensor) -> None:
    state = torch.get_rng_state()
    first, second = (embedder.train(brains[None, :12], embedder.Training(2, seed=3)) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)


def test_weights_are_kept_and_damage_is_said(network: embedder.Embedder, brains: Tensor, tmp_path: Path) -> None:
    path = embedder.save_embedder(tmp_path / "e.safetensors", network)
    again = embedder.load_embedder(path)
    assert np.array_equal(embedder.embed(again, brains), embedder.embed(network, brains))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(InputError, match="embedder's weights"):
        embedder.load_embedder(path)


def test_contrastive_loss_by_hand() -> None:
    """Two orthogonal pairs of length a, views identical: -log(e^(a²/τ) / (e^(a²/τ) + 2))."""
    views = 0.3 * torch.eye(2)
    expected = np.log1p(2 * np.exp(-0.09 / embedder.TEMPERATURE))
    assert float(embedder.contrastive_loss(views, views)) == pytest.approx(float(expected), rel=1e-5)
    assert float(embedder.contrastive_loss(views, views.flip(0))) > 2 * expected


def test_changes_keep_shape_and_are_what_they_say(brains: Tensor) -> None:
    rng = stream(0, "test")
    for change in (EXACT | MILD).values():
        changed = change(brains[:3], rng)
        assert changed.shape == brains[:3].shape
        assert bool(torch.isfinite(changed).all())
    assert torch.equal(MILD["flipped"](brains, rng), brains.flip(-1))
    assert torch.allclose(blended(0.6)(brains[:1], brains[1:2]), 0.6 * brains[:1] + 0.4 * brains[1:2])
    assert random_view(brains, rng).shape == brains.shape


def _nothing(pictures: Tensor) -> Closest:
    """A route that recognises nobody: everything is the first slice, and barely."""
    return Closest(np.zeros(len(pictures), np.int64), np.zeros(len(pictures)))


def _by(embed: Callable[[Tensor], Features], base: Features) -> Callable[[Tensor], Closest]:
    return lambda pictures: closest_by_features(embed(pictures), base)


def test_every_kind_of_copy_is_of_other_slices_and_all_are_embedded_at_once(brains: Tensor) -> None:
    planted = plant(brains[:20], brains[20:], 6, stream(0, "test", 1, 0))
    assert len({tuple(copies.sources) for copies in planted.values()}) == len(planted)
    assert torch.equal(planted["exact"].pictures, brains[:20][planted["exact"].sources])
    asked = []

    def pixels(pictures: Tensor) -> Features:
        asked.append(len(pictures))
        return unit(pictures.flatten(1).numpy())

    base = unit(brains[:20].flatten(1).numpy())
    doses = dose_response(planted, Route(_by(pixels, base), 0.0), Route(_nothing, 1.0), [f"p{i}" for i in range(20)])
    assert asked == [6 * len(planted)]
    assert {dose.change: dose.recognised for dose in doses}["exact"] == 1


def test_dose_response_falls_with_the_share_that_is_copied(network: embedder.Embedder, brains: Tensor) -> None:
    planted = plant(brains[:16], brains[16:], 12, stream(0, "test", 1, 0))
    by_features = _by(lambda pictures: embedder.embed(network, pictures), embedder.embed(network, brains[:16]))
    patients = [f"p{i}" for i in range(16)]
    doses = {d.change: d for d in dose_response(planted, Route(by_features, 0.9), Route(_nothing, 1.0), patients)}
    assert doses["exact"].recognised == 1
    assert doses["exact"].stands_out == doses["exact"].in_features == 1
    assert doses["exact"].in_measured_space == 0
    assert doses[f"{BLENDS[0]:.0%} blended"].recognised >= doses[f"{BLENDS[-1]:.0%} blended"].recognised
    found, copies = recall(list(doses.values()))
    assert copies == 12 * len(EXACT | MILD)
    assert found <= copies
    assert 0 < standing_out(list(doses.values())) <= 1
    blind = dose_response(planted, Route(by_features, 1.1), Route(_nothing, 1.0), patients)
    assert standing_out(blind) == 0


def test_a_copy_counts_that_either_way_recognises_and_the_better_way_states_the_limit(brains: Tensor) -> None:
    """Two ways that know every other copy each: together they know all, either alone no more than half."""
    planted = plant(brains[:16], brains[16:], 8, stream(0, "test", 1, 0))
    sources = np.concatenate([copies.sources for copies in planted.values()])

    def knows(parity: int) -> Callable[[Tensor], Closest]:
        known = np.arange(len(sources)) % 2 == parity
        found = Closest(np.where(known, sources, (sources + 1) % 16), np.where(known, 0.9, 0.1))
        return lambda pictures: found

    doses = dose_response(planted, Route(knows(0), 0.5), Route(knows(1), 0.5), [f"p{i}" for i in range(16)])
    assert all(dose.recognised == dose.stands_out == 1 for dose in doses)
    assert all(dose.in_features == dose.in_measured_space == 0.5 for dose in doses)
    assert standing_out(doses) == 0.5


def test_blurred_and_noise_are_not_called_real(brains: Tensor) -> None:
    more = torch.stack([subject(i, size=64).images[0] for i in range(24, 64)])[:, None]
    real, others = spectrum(more), spectrum(brains)
    assert quality(others, real).realistic >= 0.7
    blurred = MILD["blurred"](MILD["blurred"](brains, stream(0, "test")), stream(0, "test"))
    assert not quality(spectrum(blurred), real).adequate
    assert quality(spectrum(blurred), real).detail < 0.5
    noise = torch.rand(10, 1, 64, 64, generator=stream(0, "test", 1))
    assert quality(spectrum(noise), real).realistic == 0

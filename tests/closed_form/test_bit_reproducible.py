"""METHOD check 11: same seed, same bits: whatever the batches, and whether or not the training was interrupted."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, pairwise
from pathlib import Path

import pytest
import torch
from torch import Generator, Tensor

from ambient_mri.corruption import Corruption, FurtherCorruption
from ambient_mri.measurement import Measurement
from ambient_mri.operators import Encoding, Fourier, Identity, Sense
from ambient_mri.patterns import RandomLines
from ambient_mri.prior.checkpoint import resume, save_checkpoint
from ambient_mri.prior.learner import Learner
from ambient_mri.prior.network import Architecture, build_network
from ambient_mri.prior.preconditioning import AmbientPrior
from ambient_mri.prior.steps import Batches, Place, draw
from ambient_mri.randomness import stream
from ambient_mri.sampling.prior_samples import heun
from tests.laws.expectation import generators
from tests.laws.operators import complex_normal, relative
from tests.laws.reproducibility import check_global_state_untouched, check_reproducible

SHAPE = (10, 12)
SMALL = Architecture((8, 16), 1)
LAW = RandomLines(2, 0.2)
FURTHER = FurtherCorruption(LAW, (0.3, 0.9))


def _maps() -> Tensor:
    maps = complex_normal(1, 2, *SHAPE, rng=Generator().manual_seed(7))
    return maps / maps.abs().square().sum(1, keepdim=True).sqrt()


def _scans(count: int) -> Measurement:
    rngs = generators(9, count)
    A = Corruption(LAW).draw(Sense(_maps()), SHAPE, rngs)
    x = torch.stack([complex_normal(1, *SHAPE, rng=rng) for rng in rngs])
    return Measurement(
        y=A.forward(0.35 * x), mask=A.mask, sensitivity_maps=_maps().expand(count, -1, -1, -1),
        noise_std=torch.full((count,), 0.02), scale=torch.ones(count), domain="kspace",
        scan_ids=tuple(str(i) for i in range(count)),
    )  # fmt: skip


def test_a_step_draws_the_same_for_every_split_of_the_batch() -> None:
    scans = _scans(5)

    def drawn(first: int, last: int) -> list[Tensor]:
        part = draw(scans[first:last], FURTHER, generators(1, 5)[first:last])
        return [part.sigma, part.noise, part.further.weight, part.further.operator.mask]

    whole = drawn(0, 5)
    check_global_state_untouched(lambda: drawn(0, 5))
    for places in ((0, 1, 5), (0, 3, 5), (0, 1, 2, 3, 4, 5)):
        parts = [drawn(first, last) for first, last in pairwise(places)]
        for i, value in enumerate(whole):
            assert torch.equal(torch.cat([part[i] for part in parts]), value)
    assert len(set(whole[0].tolist())) > 1
    assert bool((whole[0] >= 0.02).all())


def test_processes_share_the_global_batch_and_a_resumed_run_goes_on_with_it() -> None:
    def taken(first: int = 0, rank: int = 0, world: int = 1) -> list[list[Place]]:
        batches = iter(Batches(7, 4, seed=3, first=first, rank=rank, world=world))
        return [next(batches) for _ in range(8 - first)]

    whole = taken()
    assert taken(first=5) == whole[5:]
    assert [a + b for a, b in zip(taken(rank=0, world=2), taken(rank=1, world=2), strict=True)] == whole
    assert [place.position for place in whole[0]] == [0, 1, 2, 3]
    order = [place.scan for place in chain.from_iterable(whole)]
    assert sorted(order[:7]) == sorted(order[7:14]) == list(range(7))  # every scan once a lap
    assert order[:7] != order[7:14]
    assert stream(3, "test", 1, 0).initial_seed() != stream(3, "test", 0, 1).initial_seed()


@pytest.mark.parametrize("encoding", [Identity(), Fourier(), Sense(_maps())], ids=["pixels", "one coil", "coils"])
def test_prior_samples_do_not_depend_on_the_batches(encoding: Encoding) -> None:
    prior = AmbientPrior(build_network(SMALL, seed=1).eval())

    @torch.no_grad()
    def sample(rngs: Sequence[Generator]) -> Tensor:
        given = FURTHER.draw(Corruption(LAW).draw(encoding, SHAPE, rngs), rngs).operator
        return heun(prior, given, rngs, SHAPE, steps=4, low=0.02)

    check_reproducible(sample, 4)


def _train(learner: Learner, scans: Measurement, until: int) -> list[float]:
    losses = []
    while learner.step < until:
        rows = [place.scan for place in next(iter(Batches(len(scans), 3, seed=0, first=learner.step)))]
        rngs = [stream(0, "test", learner.step, place) for place in range(3)]
        losses.append(learner.update(scans[rows], draw(scans[rows], FURTHER, rngs), learner.step / 6))
    return losses


def _learner() -> Learner:
    return Learner.start(build_network(SMALL), torch.float32)


def test_a_resumed_training_equals_the_uninterrupted_one(tmp_path: Path) -> None:
    scans, whole = _scans(7), _learner()
    losses = _train(whole, scans, 6)

    first = _learner()
    before = _train(first, scans, 3)
    save_checkpoint(tmp_path, first)
    second = Learner.start(build_network(SMALL, seed=5), torch.float32)  # other weights, overwritten
    assert resume(tmp_path, second)
    assert before + _train(second, scans, 6) == losses
    for name, value in whole.tensors().items():
        assert torch.equal(second.tensors()[name], value), name


def test_a_clean_start_trains_and_leaves_the_global_generators_alone(tmp_path: Path) -> None:
    learner = _learner()
    assert not resume(tmp_path, learner)
    before = {name: value.clone() for name, value in learner.tensors().items()}
    check_global_state_untouched(lambda: _train(learner, _scans(4), 2))
    changed = [
        name for name, value in learner.tensors().items() if name in before and not torch.equal(before[name], value)
    ]
    assert any(name.startswith("network.") for name in changed)
    assert any(name.startswith("average.") for name in changed)
    kernel = next(name for name in before if name.endswith("conv.weight"))
    assert relative(learner.tensors()[kernel], before[kernel]) < 0.1

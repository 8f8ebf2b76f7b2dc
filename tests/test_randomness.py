"""Streams: named by seed, purpose and place, and by nothing else."""

from __future__ import annotations

import itertools

import torch

from ambient_mri.randomness import stream, white


def test_every_name_has_a_stream_of_its_own() -> None:
    """Also where the same characters are divided otherwise between purpose and place."""
    seeds, purposes, places = (0, 1, -1), ("mask", "noise", "noise 1"), ((), (1,), (0, 1), (1, 0), (11,), ("1a",))
    names = list(itertools.product(seeds, purposes, places))
    first = {stream(seed, purpose, *place).initial_seed() for seed, purpose, place in names}
    assert len(first) == len(names)


def test_a_stream_is_the_same_in_every_process() -> None:
    """Masks and noise of simulated scans hang on it: another hash would make every published figure another one."""
    assert stream(0, "mask", "sub-01").initial_seed() == int.from_bytes(bytes.fromhex("c1f0f10d28c3e88b"), "big")


def test_a_stream_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    white((4, 4), stream(0, "noise"))
    assert torch.equal(before, torch.random.get_rng_state())


def test_white_noise_has_unit_deviation_in_either_part_and_no_correlation_between_them() -> None:
    noise = white((400, 400), stream(0, "noise"))
    parts = torch.stack([noise.real.flatten(), noise.imag.flatten()])
    assert torch.allclose(torch.cov(parts), torch.eye(2), atol=0.02)

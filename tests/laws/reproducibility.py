"""Law of everything that draws: the generators decide all of it, and the global state none."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Generator, Tensor

from tests.laws.expectation import batches, generators


def check_global_state_untouched(action: Callable[[], object]) -> None:
    """Neither torch's, NumPy's nor Python's global generator moves."""
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    action()
    after = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    assert torch.equal(before[0], after[0]), "torch's global generator was used"
    assert before[1] == after[1], "NumPy's global generator was used"
    assert before[2] == after[2], "Python's global generator was used"


def check_reproducible(draw: Callable[[Sequence[Generator]], Tensor], count: int = 5, *, distinct: bool = True) -> None:
    """Same seeds: same bits, for any split into batches, whatever the global state; other seeds: other bits.

    `draw` gives one row a generator.
    """
    whole = draw(generators(1, count))
    check_global_state_untouched(lambda: draw(generators(1, count)))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(12345)
        assert torch.equal(draw(generators(1, count)), whole)
    for sizes in ([1] * count, [count - 2, 2], [1, count - 1]):
        parts = torch.cat([draw(part) for part in batches(generators(1, count), sizes)])
        assert torch.equal(parts, whole), f"batches of {sizes} give other samples"
    if distinct:
        assert not torch.equal(draw(generators(2, count)), whole)

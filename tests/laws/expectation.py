"""Laws of random quantities: a mean is what theory says, within its own Monte-Carlo error."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Generator, Tensor


def check_mean(samples: Tensor, expected: Tensor | float, deviations: float = 4.5, slack: float = 0.0) -> None:
    """The mean over axis 0 is `expected` within `deviations` standard errors (plus `slack` for rounding)."""
    samples = samples.double()
    error = samples.std(0) / len(samples) ** 0.5
    distance = (samples.mean(0) - expected).abs()
    allowed = deviations * error + slack
    worst = float((distance / error.clamp_min(1e-30)).max())
    assert bool((distance <= allowed).all()), f"mean {samples.mean(0)}, not {expected}: {worst:.1f} standard errors off"


def check_not_mean(samples: Tensor, expected: Tensor | float, deviations: float = 8.0) -> None:
    """Some mean differs visibly: shows that `check_mean` has the power to say no."""
    samples = samples.double()
    error = samples.std(0) / len(samples) ** 0.5
    assert bool(((samples.mean(0) - expected).abs() > deviations * error).any())


def check_conditional_mean(
    draw: Callable[[int], tuple[Tensor, Tensor]], draws: int, least: int = 100, deviations: float = 5.0
) -> int:
    """E[value | key] = 0 for every key seen at least `least` times; returns the number of such keys.

    `draw(i)` gives (key, value): the key is what is conditioned on, as a bool tensor.
    """
    groups: dict[tuple[bool, ...], list[Tensor]] = {}
    for i in range(draws):
        key, value = draw(i)
        groups.setdefault(tuple(key.flatten().tolist()), []).append(value)
    large = [torch.stack(values) for values in groups.values() if len(values) >= least]
    for values in large:
        # rare events have few or no hits in a small group: their standard error is floored at that of one hit
        check_mean(values, 0.0, deviations, slack=deviations * float(values.abs().max()) / len(values))
    return len(large)


def generators(seed: int, count: int) -> list[Generator]:
    """One generator a sample."""
    return [Generator().manual_seed(1_000_003 * seed + i) for i in range(count)]


def batches(items: Sequence[Generator], sizes: Sequence[int]) -> Iterator[Sequence[Generator]]:
    start = 0
    for size in sizes:
        yield items[start : start + size]
        start += size

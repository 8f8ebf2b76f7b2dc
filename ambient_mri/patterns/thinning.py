"""The further corruption D, and P(A_j = 1 | Ã): once for exchangeable units, once for independent ones.

Masks are bool and of the shape of the law's units; q is float32 of that shape.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor


def same_grid(measured: Tensor, calibration: Tensor) -> None:
    """A law of lines would thin a copy of a line mask over rows point by point, with a wrong q."""
    if measured.shape != calibration.shape:
        raise ValueError(f"a mask of {tuple(measured.shape)} on a grid of {tuple(calibration.shape)}: see `units`")


def choose(candidates: Tensor, count: int, rng: Generator) -> Tensor:
    """`count` of the True units, uniformly without replacement."""
    score = torch.rand(candidates.shape, generator=rng).masked_fill(~candidates, -1.0)
    chosen = torch.zeros(candidates.numel(), dtype=torch.bool)
    chosen[score.flatten().topk(count).indices] = True
    return chosen.reshape(candidates.shape)


def thin_uniformly(measured: Tensor, calibration: Tensor, keep: float, rng: Generator) -> Tensor:
    """Keep a fixed share of the units beyond the calibration; at least one is dropped."""
    same_grid(measured, calibration)
    free = measured & ~calibration
    total = int(free.sum())
    kept = min(round(keep * total), total - 1)
    return (measured & calibration) | choose(free, max(kept, 0), rng)


def thin_independently(measured: Tensor, calibration: Tensor, keep: float, rng: Generator) -> Tensor:
    """Keep each unit beyond the calibration with probability `keep`."""
    same_grid(measured, calibration)
    dropped = torch.rand(measured.shape, generator=rng) >= keep
    return measured & (calibration | ~dropped)


def given_counts(shown: Tensor, measured: Tensor, calibration: Tensor, acquired: Tensor | None = None) -> Tensor:
    """q = d / (N - K̃): d dropped of the N candidates, K̃ shown. Exact where units are exchangeable.

    Candidates lie within `acquired`: how many of the law's units fell outside says nothing of those inside.
    """
    same_grid(measured, calibration)
    candidates = int((~calibration if acquired is None else ~calibration & acquired).sum())
    kept, dropped = int((shown & ~calibration).sum()), int((measured & ~shown & ~calibration).sum())
    q = dropped / max(candidates - kept, 1)
    return torch.where(shown | calibration, 1.0, q)


def given_independent(shown: Tensor, probability: Tensor, keep: float) -> Tensor:
    """q = P(1-P̃) / (1 - P P̃) for independent units."""
    q = probability * (1 - keep) / (1 - probability * keep).clamp_min(1e-12)
    return torch.where(shown, 1.0, q)

"""Posterior samples beside what they did not see, slice by slice: hidden measurements and, in simulation, images."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from itertools import count, groupby
from typing import TypeVar

import torch

from ambient_mri.data.dataset import Scans, open_evaluation
from ambient_mri.data.spec import DataSpec
from ambient_mri.errors import InputError
from ambient_mri.evaluation.coverage import Components, Patients, held_out_samples, joined, pixels
from ambient_mri.evaluation.drawn import Drawn
from ambient_mri.evaluation.scoring import batches
from ambient_mri.measurement import Measurement, collate
from ambient_mri.operators import Masked
from ambient_mri.randomness import stream
from ambient_mri.reconstruction.posterior import Posterior

Some = TypeVar("Some")
KEPT = 0.8
"""Share of each measurement that the sampler sees: close to all of it, which is what it is used with."""
SLICES = 4
"""Of a batch: posterior samples may take a minute a slice, and each batch is a line of progress."""
AT_ONCE = 2**21  # complex samples of a batch
MOST = 8192  # real components of a slice that count; more say nothing new, as they are correlated


def held_out(
    run: Posterior,
    scans: Scans,
    device: str = "cpu",
    seed: int = 0,
    progress: Callable[[str], None] = lambda line: None,
    drawn: Drawn | None = None,
) -> Patients:
    """What samples drawn from a part of each measurement say about the rest of it, by patient.

    Patients of whom D hid nothing are not among them. What is in `drawn` is not drawn again.
    """
    law, drawn = scans.further().keeping(KEPT), drawn or Drawn()
    for rows, batch in _undrawn(_batches(scans), scans.part, len(scans), drawn, progress):
        batch = batch.to(device)
        rngs = [stream(seed, "held out", row) for row in rows]
        shown = law.draw(batch.operator(), rngs, batch.component).operator
        found = zip(rows, _of_batch(run, batch, shown), rngs, strict=True)
        drawn.keep({(scans.part, row): _thinned(one, rng) for row, one, rng in found})
    patients = _by_patient((scans.patient(row), drawn[scans.part, row]) for row in range(len(scans)))
    if not patients:
        raise InputError("no slices to calibrate on", where=scans.part, remedy="Raise the split's share")
    return patients


def _of_batch(run: Posterior, batch: Measurement, shown: Masked) -> Iterator[Components]:
    drawn = run.draw(replace(batch, mask=shown.mask), None)
    hidden = batch.mask & ~shown.mask
    for i in range(len(batch)):
        one = batch[[i]]
        yield held_out_samples(drawn.samples[i], one.y, one.encoding(), hidden[[i]], float(one.noise_std[0]))


def _thinned(components: Components, rng: torch.Generator) -> Components:
    if len(components) <= MOST:
        return components
    at = torch.randperm(len(components), generator=rng)[:MOST]
    return replace(components, residual=components.residual[at], spread=components.spread[at],
                   noise_std=components.noise_std[at])  # fmt: skip


def _batches(scans: Scans) -> Iterator[tuple[list[int], Measurement]]:
    """Slices in order, neighbours of one shape together."""
    for shape, group in groupby(range(len(scans)), key=lambda i: tuple(scans[i].y.shape)):
        rows, most = list(group), max(1, min(SLICES, AT_ONCE // torch.Size(shape).numel()))
        for first in range(0, len(rows), most):
            part = rows[first : first + most]
            yield part, collate([scans[i] for i in part])


def in_images(
    run: Posterior, spec: DataSpec, limit: int | None, device: str, progress: Callable[[str], None], drawn: Drawn
) -> Patients:
    """SIMULATION ONLY: magnitudes beside the truth, with all that was measured shown."""
    scans = open_evaluation(spec, "test", limit=limit)
    parts, first = batches(scans, device, SLICES), count()
    numbered = (([next(first) for _ in batch.patients], batch) for batch in parts)
    for rows, batch in _undrawn(numbered, "images", len(scans), drawn, progress):
        made, truth = run.draw(batch.measurement, None), batch.truth[:, 0].to(device)
        found = zip(rows, made.mean[:, 0], made.std[:, 0], truth, strict=True)
        drawn.keep({("images", row): pixels(mean, std, true, run.sampling.samples) for row, mean, std, true in found})
    return _by_patient((scans.patient(row), drawn["images", row]) for row in range(len(scans)))


def _undrawn(
    numbered: Iterable[tuple[list[int], Some]], part: str, slices: int, drawn: Drawn, progress: Callable[[str], None]
) -> Iterator[tuple[list[int], Some]]:
    """Batches of which a slice is not drawn yet; a line after each, with the time left by those."""
    started, now = time.monotonic(), 0
    for rows, batch in numbered:
        if all((part, row) in drawn for row in rows):
            continue
        yield rows, batch
        now, done = now + len(rows), rows[-1] + 1
        progress(f"{done}/{slices} slices, {(time.monotonic() - started) / now * (slices - done):.0f} s left")


def _by_patient(slices: Iterable[tuple[str, Components]]) -> Patients:
    parts: dict[str, list[Components]] = {}
    for patient, components in slices:
        if len(components):  # where each line has its own coin, D may hide none of a few
            parts.setdefault(patient, []).append(components)
    return {patient: joined(components) for patient, components in parts.items()}

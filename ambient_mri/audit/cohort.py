"""The scans of an audit: training and hold-out patients, through what was measured of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor

from ambient_mri.corruption import FurtherLaw
from ambient_mri.data.dataset import EvaluationScans, Scans, open_evaluation, open_scans
from ambient_mri.data.spec import DataSpec
from ambient_mri.errors import InputError
from ambient_mri.files import text_sha256
from ambient_mri.measurement import DATA_STD, Measurement, collate
from ambient_mri.operators import Masked
from ambient_mri.randomness import stream, white
from ambient_mri.solvers import Resolvent

BATCH = 16
LEAST_DETAIL = 0.15
"""A picture whose standard deviation is below this share of the median's shows next to nothing and is left out."""


@dataclass(frozen=True)
class Side:
    """The scans of the training, or of the hold-out.

    Parameters
    ----------
    scans
        One slice each, normalised.
    pictures
        `(n, 1, y, x)` magnitude: of what was measured (`view`), or the images of a simulation.
    patients
        Whose each slice is.
    ids
        `<scan>/<slice>`; these never leave the restricted annex.
    dropped
        Slices left out.
    """

    scans: tuple[Measurement, ...]
    pictures: Tensor
    patients: tuple[str, ...]
    ids: tuple[str, ...]
    dropped: int

    def __len__(self) -> int:
        return len(self.scans)

    def batches(self, rows: Sequence[int] | None = None) -> Iterator[Measurement]:
        """The scans in batches."""
        chosen = range(len(self)) if rows is None else rows
        for start in range(0, len(chosen), BATCH):
            yield collate([self.scans[i] for i in chosen[start : start + BATCH]])


def only(side: Side, rows: Sequence[int]) -> Side:
    """The side with some of its slices."""
    return Side(
        tuple(side.scans[i] for i in rows), side.pictures[list(rows)], tuple(side.patients[i] for i in rows),
        tuple(side.ids[i] for i in rows), side.dropped,
    )  # fmt: skip


def equal_rows(side: Side, slices: int, most: int | None = None) -> list[int]:
    """The first `slices` slices of each patient who has as many, patient by patient; of at most `most` patients."""
    rows: dict[str, list[int]] = {}
    for row, patient in enumerate(side.patients):
        rows.setdefault(patient, []).append(row)
    chosen = [own[:slices] for own in rows.values() if len(own) >= slices][:most]
    return [row for own in chosen for row in own]


def view(A: Masked, y: Tensor, noise_std: Tensor) -> Tensor:
    """|(AᴴA + λI)⁻¹ Aᴴy|, λ = (σ_y/σ_d)²: a reconstruction that no network had a part in, `(b, 1, y, x)`."""
    lam = (noise_std / DATA_STD).square().clamp_min(0.01)[:, None, None, None]
    return Resolvent(A, lam)(A.adjoint(y)).abs()


def view_of(batch: Measurement) -> Tensor:
    """`view` of a batch of scans."""
    return view(batch.operator(), batch.y, batch.noise_std)


def seen_through(images: Tensor, scans: Sequence[Measurement], rngs: Sequence[Generator]) -> Tensor:
    """Images as if measured: image i by the operator and with the noise of a scan drawn from `scans`, then `view`.

    Training and hold-out scans are in the draw alike, so neither is favoured.
    """
    views = []
    for start in range(0, len(images), BATCH):
        part = rngs[start : start + BATCH]
        chosen = collate([scans[int(torch.randint(len(scans), (), generator=rng))] for rng in part])
        A = chosen.operator()
        noise = torch.stack([white(tuple(chosen.y.shape[1:]), rng) for rng in part])
        y = A.forward(images[start : start + BATCH]) + chosen.noise_std[:, None, None, None] * noise
        views.append(view(A, y, chosen.noise_std))
    return torch.cat(views)


def open_side(
    spec: DataSpec, parts: Sequence[str], scans: str, limit: int | None,
    progress: Callable[[str], None] = lambda line: None,
) -> Side:  # fmt: skip
    """The scans of the named parts of a data set.

    Parameters
    ----------
    scans
        "measured", or "images": EVALUATION ACCESS to the images that a simulation started from.
    limit
        At most this many slices of each part.

    Raises
    ------
    InputError
        If slices differ in size, or images are asked for and there are none.
    """
    measured: list[Measurement] = []
    pictures: list[Tensor] = []
    patients: list[str] = []
    ids: list[str] = []
    for part in parts:
        found: Scans | EvaluationScans
        if scans == "images":
            found = open_evaluation(spec, part, limit=limit)
            for i in range(len(found)):
                measurement, truth = found[i]
                measured.append(measurement)
                pictures.append(truth.abs())
        else:
            found = open_scans(spec, part, limit=limit)
            measured += [found[i].without_unmeasured() for i in range(len(found))]
        patients += [found.patient(i) for i in range(len(found))]
        ids += found.ids
        progress(f"read {len(found)} slices of {part}")
    if not measured:
        raise InputError(f"no slices in {', '.join(parts)}", where=spec.name, remedy="Raise split.validation or .test")
    sizes = {scan.image_shape for scan in measured}
    if len(sizes) > 1:
        raise InputError(f"slices of several sizes {sorted(sizes)}", where=spec.name, remedy="Set source.crop_kspace")
    if not pictures:
        for start in range(0, len(measured), BATCH):
            pictures += list(view_of(collate(measured[start : start + BATCH])).split(1))
    stacked = torch.cat(pictures)
    kept = with_content(stacked)
    return Side(
        tuple(measured[i] for i in kept), stacked[kept], tuple(patients[i] for i in kept),
        tuple(ids[i] for i in kept), len(measured) - len(kept),
    )  # fmt: skip


def with_content(pictures: Tensor) -> list[int]:
    """Rows that show something."""
    spread = pictures.flatten(1).std(1)
    return torch.nonzero(spread >= LEAST_DETAIL * spread.median()).flatten().tolist()


def views(side: Side, law: FurtherLaw | None, seed: int, further: int = 2) -> Tensor:
    """`(views, n, 1, y, x)`: the pictures, and `further` more of each slice from a part D A of what was measured.

    Two pictures of one slice under different masks count as the same for the embedder. Without a law (images),
    the pictures alone.
    """
    found = [side.pictures]
    for number in range(further if law is not None else 0):
        parts, first = [], 0
        for batch in side.batches():
            rngs = [stream(seed, "further view", number, first + i) for i in range(len(batch))]
            assert law is not None
            parts.append(view(law.draw(batch.operator(), rngs, batch.component).operator, batch.y, batch.noise_std))
            first += len(batch)
        found.append(torch.cat(parts))
    return torch.stack(found)


def contents_sha256(sides: Sequence[Side]) -> str:
    """SHA-256 over what was measured: the salt of pseudonyms, which nobody can work out without the scans."""
    digest = hashlib.sha256()
    for side in sides:
        for scan in side.scans:
            digest.update(np.ascontiguousarray(torch.view_as_real(scan.y).numpy()).tobytes())
    return digest.hexdigest()


def pseudonym(patient: str, salt: str) -> str:
    """`P-` and eight digits; the salt stays with whoever holds the scans."""
    return "P-" + text_sha256(f"{salt}\0{patient}").hex()[:8]

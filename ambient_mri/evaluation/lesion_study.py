"""EVALUATION ONLY: what is left of a small lesion in a reconstruction, and whether one can tell that it is there.

A lesion is put into images of unseen patients, at a random place of the tissue, and measured as the scan was: same
coils, same mask, same noise. Every method reconstructs the scan with it and without it. The observer knows place, size
and the tissue behind (signal and background known exactly): what differs from the truth is the reconstruction's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Generator, Tensor

from ambient_mri.data.dataset import open_evaluation
from ambient_mri.data.spec import DataSpec
from ambient_mri.errors import InputError
from ambient_mri.evaluation.contenders import contenders, model_for
from ambient_mri.evaluation.evaluate import TUNING_SLICES, laws
from ambient_mri.evaluation.lesions import Lesion, added, brightness, place, with_lesions
from ambient_mri.evaluation.metrics import Interval, patient_bootstrap
from ambient_mri.evaluation.scoring import Batch, batches
from ambient_mri.randomness import stream
from ambient_mri.reconstruction import methods as named

if TYPE_CHECKING:
    from ambient_mri.reconstruction.posterior import Sampling

DIAMETERS, CONTRAST = (2.0, 3.0, 4.0, 6.0), 0.3
RESAMPLES = 4000


@dataclass(frozen=True)
class Told:
    """What the observer sees of one slice with the lesion and without it, less what is seen in the truth without it."""

    patient: str
    present: float
    absent: float


@dataclass(frozen=True)
class Found:
    """One method on lesions of one diameter.

    Parameters
    ----------
    recovered
        Share of the lesion that is left, its mean over patients.
    auc
        Chance that more is seen in a scan with it than in one without it: .5 where nothing can be told.
    false
        Root mean square of what is seen at the same place without a lesion, in units of the lesion.
    lesions
        How many, one a slice; a slice where no place is wide enough has none.
    """

    method: str
    acceleration: float
    diameter: float
    recovered: Interval
    auc: Interval
    false: float
    lesions: int
    patients: int


@dataclass(frozen=True)
class Example:
    """Magnitudes `(y, x)` of a slice around a lesion at `centre`, with it and without it: the truth and by method."""

    acceleration: float
    diameter: float
    centre: tuple[int, int]
    images: dict[str, tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class LesionStudy:
    """All rows, and what is needed to repeat them.

    Parameters
    ----------
    contrast
        Of the lesions to the median of the head.
    noise_std
        Per real component, as the spec states it.
    slices
        Of the test split.
    """

    data: str
    bundle: str
    contrast: float
    noise_std: float | None
    slices: int
    tuning_slices: int
    seed: int
    command: str
    rows: tuple[Found, ...]
    examples: tuple[Example, ...]


def evaluate_lesions(
    bundle_path: Path | None,
    spec: DataSpec,
    *,
    accelerations: Sequence[float] = (),
    methods: Sequence[str] | None = None,
    diameters: Sequence[float] = DIAMETERS,
    contrast: float = CONTRAST,
    limit: int | None = None,
    tuning_slices: int = TUNING_SLICES,
    sampling: Sampling | None = None,
    device: str = "cpu",
    seed: int = 0,
    command: str = "",
    progress: Callable[[str], None] = lambda line: None,
) -> LesionStudy:
    """Lesions of every diameter in the slices of the test split, by every method at every acceleration.

    Parameters
    ----------
    accelerations, methods, tuning_slices, sampling
        As of `evaluate`; strengths are tuned for PSNR on validation slices, which have no lesions put in.
    diameters
        Pixels.
    contrast
        How much brighter a lesion is, as a share of the median of the head; below 0 it is darker.
    limit
        At most this many slices of the test split.
    seed
        Of places and bootstrap.
    progress
        Called with a line for each batch of slices.

    Raises
    ------
    InputError
        If the bundle or the data cannot be used, the scans were acquired, the contrast is 0 or not finite, or no slice
        has a place for a lesion.
    """
    if not spec.simulated:
        raise InputError("lesions are put into images, and these scans were acquired", where=spec.name,
                         remedy="Use a spec of images, whose scans are simulated")  # fmt: skip
    if contrast == 0 or not math.isfinite(contrast):
        raise InputError(f"a lesion of contrast {contrast:g} cannot be seen", where="--contrast",
                         remedy="Give a share of the tissue's brightness, such as .3 or -.3")  # fmt: skip
    bundle = model_for(bundle_path, spec, methods, device, progress)
    methods = named.default_methods(bundle) if methods is None else methods
    compared = contenders(bundle, spec.acquisition.domain, methods, sampling)
    rows: list[Found] = []
    examples: list[Example] = []
    for rate, pattern in laws(spec, accelerations):
        held = list(batches(open_evaluation(spec, "validation", pattern=pattern, limit=tuning_slices), device))
        strengths = {name: contender.tuned(held).strength for name, contender in compared.items()}
        scans = open_evaluation(spec, "test", pattern=pattern, limit=limit)
        told: dict[tuple[float, str], list[Told]] = {}
        done = 0
        for batch in batches(scans, device):
            plain = {name: one.run(batch.measurement, strengths[name]).abs().cpu() for name, one in compared.items()}
            for diameter in diameters:
                placed = _placed(batch, diameter, contrast, seed)
                if not placed.rows:
                    continue
                behind, owners = batch.truth[placed.rows], [batch.patients[row] for row in placed.rows]
                changed = with_lesions(batch.measurement[placed.rows], batch.image[placed.rows], placed.lesions)
                pairs = {"truth": (behind + added(placed.lesions), behind)}
                for name, one in compared.items():
                    pairs[name] = (one.run(changed, strengths[name]).abs().cpu(), plain[name][placed.rows])
                    told.setdefault((diameter, name), []).extend(_told(owners, placed.lesions, pairs[name], behind))
                if not done:
                    shown = {name: (present[0, 0], absent[0, 0]) for name, (present, absent) in pairs.items()}
                    examples.append(Example(rate, diameter, placed.centres[0], shown))
            done += len(batch.patients)
            progress(f"R = {rate:g}: {done} of {len(scans)} slices")
        rows += [found(name, rate, diameter, these, seed) for (diameter, name), these in told.items()]
    if not rows:
        raise InputError("no slice has tissue enough around a lesion", where=spec.name, remedy="Ask for smaller ones")
    return LesionStudy(
        data=spec.name, bundle="" if bundle_path is None else str(bundle_path), contrast=contrast,
        noise_std=spec.acquisition.noise_std, slices=len(scans), tuning_slices=sum(len(one.patients) for one in held),
        seed=seed, command=command, rows=tuple(sorted(rows, key=lambda row: (row.acceleration, row.diameter))),
        examples=tuple(examples),
    )  # fmt: skip


def found(method: str, acceleration: float, diameter: float, told: Sequence[Told], seed: int) -> Found:
    """The figures of one method on lesions of one diameter."""
    patients = [one.patient for one in told]
    present, absent = (torch.tensor([getattr(one, of) for one in told]) for of in ("present", "absent"))
    rng = torch.Generator().manual_seed(seed)
    return Found(
        method, acceleration, diameter, patient_bootstrap((present - absent).tolist(), patients, rng),
        told_apart(present, absent, patients, rng), float(absent.square().mean().sqrt()), len(told), len(set(patients)),
    )  # fmt: skip


def told_apart(present: Tensor, absent: Tensor, patients: Sequence[str], rng: Generator) -> Interval:
    """Area under the ROC curve by all pairs (Mann and Whitney 1947) and its 95 % interval by a bootstrap over patients.

    Parameters
    ----------
    present, absent
        `(n,)` what is seen with a lesion and without one.
    """
    wins = (present[:, None] > absent).double() + 0.5 * (present[:, None] == absent).double()
    names = {name: k for k, name in enumerate(dict.fromkeys(patients))}
    whose = torch.tensor([names[name] for name in patients])
    draws = torch.randint(len(names), (RESAMPLES, len(names)), generator=rng)
    times = torch.zeros(RESAMPLES, len(names), dtype=torch.float64)
    weight = times.scatter_add_(1, draws, torch.ones_like(times))[:, whose]
    areas = ((weight @ wins) * weight).sum(1) / weight.sum(1).square()
    low, high = torch.quantile(areas, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Interval(float(wins.mean()), low, high)


@dataclass(frozen=True)
class _Placed:
    """Rows of a batch with a place for a lesion, the places, and the lesions."""

    rows: list[int]
    centres: list[tuple[int, int]]
    lesions: list[Lesion]


def _placed(batch: Batch, diameter: float, contrast: float, seed: int) -> _Placed:
    placed = _Placed([], [], [])
    for row, scan_id in enumerate(batch.measurement.scan_ids):
        image = batch.truth[row, 0]
        centre = place(image, diameter, stream(seed, "lesion", scan_id, f"{diameter:g}"))
        if centre is not None:
            placed.rows.append(row)
            placed.centres.append(centre)
            amplitude = contrast * brightness(image)
            placed.lesions.append(Lesion.around(centre, diameter, batch.measurement.image_shape, amplitude))
    return placed


def _told(
    patients: Sequence[str], lesions: Sequence[Lesion], images: tuple[Tensor, Tensor], behind: Tensor
) -> Iterator[Told]:
    """`images` with the lesions and without, `behind` the truth without, each `(b, 1, y, x)`."""
    for patient, lesion, present, absent, truth in zip(patients, lesions, *images, behind, strict=True):
        known = lesion.seen(truth[0])
        yield Told(patient, lesion.seen(present[0]) - known, lesion.seen(absent[0]) - known)

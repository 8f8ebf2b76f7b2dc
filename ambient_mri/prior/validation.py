"""Validation without ground truth: how well what D hides of scans is predicted from what it shows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from scipy.stats import t as student_t
from torch import Tensor

from ambient_mri.corruption import Further, FurtherLaw
from ambient_mri.data.dataset import Scans, open_scans
from ambient_mri.data.spec import DataSpec
from ambient_mri.measurement import Measurement, collate
from ambient_mri.prior.objective import withheld_error
from ambient_mri.prior.preconditioning import Prior
from ambient_mri.randomness import stream

SCANS = 48


@dataclass(frozen=True)
class Summary:
    """Ground-truth-free validation: relative squared error on measurements that were withheld from the network.

    `low` and `high` bound the mean over patients with 95 % confidence; `error` is the squared error per pixel in
    normalised units, an unbiased estimate of the clean one on what was not shown.
    """

    step: int
    nmse: float
    low: float
    high: float
    error: float
    scans: int


def summarise(error: Tensor, energy: Tensor, patients: Sequence[str], step: int) -> Summary:
    """From squared errors and energies `(n,)` of `objective.withheld_error`, one a scan, and whom each is of.

    The interval is that of a ratio estimate over clusters (Cochran 1977, §6.4 and §9A), with Student's t: slices of
    one patient err alike. One patient says nothing of others: both ends are the figure itself.
    """
    nmse = float(error.mean() / energy.mean())
    people = {patient: k for k, patient in enumerate(dict.fromkeys(patients))}
    which = torch.tensor([people[patient] for patient in patients])
    excess = torch.zeros(len(people), dtype=error.dtype).index_add(0, which, error - nmse * energy)
    if (count := len(people)) == 1:
        return Summary(step, nmse, nmse, nmse, float(error.mean()), len(error))
    spread = float((excess.square().sum() * count / (count - 1)).sqrt() / energy.sum())
    reach = float(student_t.ppf(0.975, count - 1)) * spread
    return Summary(step, nmse, nmse - reach, nmse + reach, float(error.mean()), len(error))


def watched(spec: DataSpec, training: Scans, size: int) -> tuple[list[str], Iterator[Measurement]]:
    """Validation scans (without any, those of training), evenly spread: whose they are, and batches of `size`."""
    held_out = open_scans(spec, "validation")
    scans = held_out if len(held_out) else training
    count = min(len(scans), SCANS)
    places = [i * len(scans) // count for i in range(count)]
    batches = (collate([scans[i] for i in places[first : first + size]]) for first in range(0, count, size))
    return [scans.patient(i) for i in places], batches


def validation(
    predictor: Callable[[Measurement, Further], Prior], batches: Iterable[Measurement], patients: Sequence[str],
    law: FurtherLaw, seed: int, step: int,
) -> Summary:  # fmt: skip
    """Error on what a draw of D hides of each scan.

    Parameters
    ----------
    predictor
        What predicts a batch under a draw of D.
    batches, patients
        Of `watched`.
    seed
        Of D: scan i sees the same draw whatever the batches.
    step
        Noted in the answer.
    """
    errors, energies, first = [], [], 0
    for batch in batches:
        rngs = [stream(seed, "validation", first + i) for i in range(len(batch))]
        further = law.draw(batch.operator(), rngs, batch.component, batch.acquired)
        prior = predictor(batch, further)
        error, energy = withheld_error(prior, batch.y, batch.operator(), further, batch.noise_std)
        errors.append(error.cpu())
        energies.append(energy.cpu())
        first += len(batch)
    return summarise(torch.cat(errors), torch.cat(energies), patients, step)

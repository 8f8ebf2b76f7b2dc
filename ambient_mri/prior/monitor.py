"""What a training shows of itself: log lines, TensorBoard and MLflow, validation without ground truth, pictures."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from scipy.stats import t as student_t
from torch import Tensor

from ambient_mri.corruption import FurtherLaw
from ambient_mri.data.dataset import Scans, open_scans
from ambient_mri.data.spec import DataSpec
from ambient_mri.measurement import Measurement, collate
from ambient_mri.pictures import enlarged, grey, sheet, write_png
from ambient_mri.prior.ambientgan import AdversarialLearner
from ambient_mri.prior.card import with_interval
from ambient_mri.prior.checkpoint import LOG
from ambient_mri.prior.learner import Learner
from ambient_mri.prior.objective import withheld_error
from ambient_mri.prior.preconditioning import Prior
from ambient_mri.prior.steps import stream
from ambient_mri.prior.tracking import Tracking

logger = logging.getLogger("ambient_mri.training")

SCANS, BATCH, PICTURES = 48, 16, 6

Preview = Callable[[Prior, Measurement, FurtherLaw], Tensor]
"""(prior, scans, law of D) → rows of images `(rows, b, 1, y, x)`; `sampling.preview.preview` is one."""


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


def watched(spec: DataSpec, training: Scans) -> tuple[Scans, list[int]]:
    """Validation scans (where there are none, those of training) and which of them, evenly spread over patients."""
    held_out = open_scans(spec, "validation")
    chosen = held_out if len(held_out) else training
    count = min(len(chosen), SCANS)
    return chosen, [i * len(chosen) // count for i in range(count)]


class Monitor:
    """Watches one training from one process; writes into its folder."""

    def __init__(
        self, folder: Path, spec: DataSpec, scans: Scans, seed: int, preview: Preview | None = None,
        tracking: Tracking | None = None,
    ) -> None:  # fmt: skip
        from torch.utils.tensorboard import SummaryWriter

        self.folder, self.seed, self.law, self.preview = folder, seed, scans.further(), preview
        self.tracking = tracking
        chosen, places = watched(spec, scans)
        self.patients = [chosen.patient(i) for i in places]
        parts = [places[i : i + BATCH] for i in range(0, len(places), BATCH)]
        self.batches = [collate([chosen[i] for i in part]) for part in parts]
        self.writer = SummaryWriter(str(folder / "tensorboard"))
        self.recent: list[float] = []

    def note(self, learner: Learner, loss: float, progress: float, every: int) -> None:
        """Collect the loss; every `every` steps log its mean, and the time that is left."""
        self.recent.append(loss)
        if learner.step % every:
            return
        mean, self.recent = math.fsum(self.recent) / len(self.recent), []
        left = learner.seconds * (1 - progress) / progress if progress > 0 else float("nan")
        self._log({"step": learner.step, "loss": mean, "rate": learner.optimisers[-1].param_groups[0]["lr"],
                   "seconds": round(learner.seconds, 3)})  # fmt: skip
        self.writer.add_scalar("loss", mean, learner.step)
        if learner.step % (10 * every) == 0 or learner.step == every:
            logger.info("step %d  loss %.4f  %.2f s a step  %.0f %% done, about %s left", learner.step, mean,
                        learner.seconds / learner.step, 100 * min(progress, 1), _duration(left))  # fmt: skip

    @torch.no_grad()
    def validate(self, learner: Learner) -> Summary | None:
        """Error on withheld measurements of the validation patients, and pictures of a few of them.

        Of a generator, which predicts nothing: only pictures.
        """
        if isinstance(learner, AdversarialLearner):
            rngs = [stream(self.seed, -4, i) for i in range(PICTURES)]
            self._write(learner.step, learner.average.generator.draw(rngs), columns=PICTURES)
            return None
        prior = learner.prior
        errors, energies = [], []
        for index, batch in enumerate(self.batches):
            device = next(learner.average.parameters()).device
            batch = batch.to(device)
            rngs = [stream(self.seed, -1, 1000 + BATCH * index + i) for i in range(len(batch))]
            further = self.law.draw(batch.operator(), rngs, batch.component, batch.acquired)
            error, energy = withheld_error(prior, batch.y, batch.operator(), further, batch.noise_std)
            errors.append(error.cpu())
            energies.append(energy.cpu())
        summary = summarise(torch.cat(errors), torch.cat(energies), self.patients, learner.step)
        nmse = summary.nmse
        self._log({"step": learner.step, "withheld_nmse": nmse, "low": summary.low, "high": summary.high})
        self.writer.add_scalar("withheld_nmse", nmse, learner.step)
        logger.info(
            "step %d  error on withheld measurements %s of their energy, %d slices of %d patients",
            learner.step, with_interval(nmse, summary.low, summary.high), summary.scans, len(set(self.patients)),
        )  # fmt: skip
        self._pictures(learner)
        return summary

    def _pictures(self, learner: Learner) -> None:
        if self.preview is None:
            return
        batch = self.batches[0][:PICTURES].to(next(learner.average.parameters()).device)
        rows = self.preview(learner.prior, batch, self.law)
        self._write(learner.step, rows.flatten(0, 1), columns=len(batch))

    def _write(self, step: int, images: Tensor, columns: int) -> None:
        shown = [enlarged(grey(image)) for image in images.flatten(0, 1).abs().float().cpu().numpy()]
        write_png(self.folder / "pictures" / f"step_{step:06d}.png", sheet(shown, columns=columns))

    def _log(self, entry: dict[str, float]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / LOG).open("a") as file:
            file.write(json.dumps(entry) + "\n")
        if self.tracking is not None:
            self.tracking.record(entry)

    def close(self) -> None:
        """Flush the logs."""
        self.writer.close()
        if self.tracking is not None:
            self.tracking.close()


def _duration(seconds: float) -> str:
    if not math.isfinite(seconds):
        return "?"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"

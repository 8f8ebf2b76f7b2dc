"""What a training shows of itself: log lines, TensorBoard and MLflow, validation without ground truth, pictures."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ambient_mri.corruption import FurtherLaw
from ambient_mri.data.dataset import Scans, open_scans
from ambient_mri.data.spec import DataSpec
from ambient_mri.measurement import Measurement, collate
from ambient_mri.pictures import enlarged, grey, sheet, write_png
from ambient_mri.prior.ambientgan import AdversarialLearner
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


def summarise(error: Tensor, energy: Tensor, step: int) -> Summary:
    """From squared errors and energies `(n,)`, one a scan, of `objective.withheld_error`."""
    nmse = float(error.mean() / energy.mean())
    spread = float((error - nmse * energy).std() / energy.mean() / len(error) ** 0.5) if len(error) > 1 else 0.0
    return Summary(step, nmse, nmse - 1.96 * spread, nmse + 1.96 * spread, float(error.mean()), len(error))


class Monitor:
    """Watches one training from one process; writes into its folder."""

    def __init__(
        self, folder: Path, spec: DataSpec, scans: Scans, seed: int, preview: Preview | None = None,
        tracking: Tracking | None = None,
    ) -> None:  # fmt: skip
        from torch.utils.tensorboard import SummaryWriter

        self.folder, self.seed, self.law, self.preview = folder, seed, scans.further(), preview
        self.tracking = tracking
        held_out = open_scans(spec, "validation", limit=SCANS)
        chosen = held_out if len(held_out) else scans
        count = min(len(chosen), SCANS)
        self.batches = [collate([chosen[j] for j in range(i, min(i + BATCH, count))]) for i in range(0, count, BATCH)]
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
            further = self.law.draw(batch.operator(), rngs, batch.component)
            error, energy = withheld_error(prior, batch.y, batch.operator(), further, batch.noise_std)
            errors.append(error.cpu())
            energies.append(energy.cpu())
        summary = summarise(torch.cat(errors), torch.cat(energies), learner.step)
        nmse = summary.nmse
        self._log({"step": learner.step, "withheld_nmse": nmse, "low": summary.low, "high": summary.high})
        self.writer.add_scalar("withheld_nmse", nmse, learner.step)
        logger.info("step %d  error on withheld measurements %.4f (95 %% %.4f to %.4f) of their energy, %d slices",
                    learner.step, nmse, summary.low, summary.high, summary.scans)  # fmt: skip
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

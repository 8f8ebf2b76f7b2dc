"""What a training shows of itself: log lines, TensorBoard and MLflow, validation, pictures."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ambient_mri.corruption import FurtherLaw
from ambient_mri.data.dataset import Scans
from ambient_mri.data.spec import DataSpec
from ambient_mri.measurement import Measurement
from ambient_mri.pictures import enlarged, grey, sheet, write_png
from ambient_mri.prior.ambientgan import AdversarialLearner
from ambient_mri.prior.card import with_interval
from ambient_mri.prior.checkpoint import LOG
from ambient_mri.prior.learner import Learner
from ambient_mri.prior.preconditioning import Prior
from ambient_mri.prior.tracking import Tracking
from ambient_mri.prior.validation import Summary, validation, watched
from ambient_mri.randomness import stream

logger = logging.getLogger("ambient_mri.training")

BATCH, PICTURES = 16, 6

Preview = Callable[[Prior, Measurement, FurtherLaw], Tensor]
"""(prior, scans, law of D) → rows of images `(rows, b, 1, y, x)`; `sampling.preview.preview` is one."""


class Monitor:
    """Watches one training from one process; writes into its folder."""

    def __init__(
        self, folder: Path, spec: DataSpec, scans: Scans, seed: int, preview: Preview | None = None,
        tracking: Tracking | None = None,
    ) -> None:  # fmt: skip
        from torch.utils.tensorboard import SummaryWriter

        self.folder, self.seed, self.law, self.preview = folder, seed, scans.further(), preview
        self.tracking = tracking
        self.patients, batches = watched(spec, scans, BATCH)
        self.batches = list(batches)
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
            rngs = [stream(self.seed, "pictures", i) for i in range(PICTURES)]
            self._write(learner.step, learner.average.generator.draw(rngs), columns=PICTURES)
            return None
        prior, device = learner.prior, next(learner.average.parameters()).device
        batches = (batch.to(device) for batch in self.batches)
        summary = validation(lambda *_: prior, batches, self.patients, self.law, self.seed, learner.step)
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

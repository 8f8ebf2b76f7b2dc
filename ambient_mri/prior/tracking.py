"""A training as a run of an MLflow experiment, by MONAI's handler; figures only, no picture leaves the folder."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from ambient_mri.errors import InputError

if TYPE_CHECKING:
    from ignite.engine import Engine

logger = logging.getLogger("ambient_mri.training")

EXPERIMENT = "ambient-mri"


class Tracking:
    """One run; a training that is resumed goes on with it.

    Parameters
    ----------
    uri
        Of a server (`http://…`), or of a database (`sqlite:///…`).
    name
        Of the run.
    facts
        Written once beside it: what the training is.

    Raises
    ------
    InputError
        If MLflow is not installed, or nothing answers there.
    """

    def __init__(self, uri: str, name: str, facts: Mapping[str, Any]) -> None:
        for quiet in ("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK"):
            os.environ.setdefault(quiet, "true")  # MLflow reports its own use to its makers otherwise
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")  # a training does not wait minutes for its log
        try:
            from mlflow.exceptions import MlflowException
        except ModuleNotFoundError:
            raise InputError("MLflow is not installed", where="--mlflow",
                             remedy="Install ambient-mri[tracking]") from None  # fmt: skip
        from monai.handlers import MLFlowHandler

        self.failures: tuple[type[Exception], ...] = (MlflowException, OSError)
        try:
            if not uri:
                raise ValueError("it names no server and no database")  # MLflow would make a database of its own
            os.environ["MLFLOW_TRACKING_URI"] = uri  # which the handler prefers to what it is given
            self.handler: Any = MLFlowHandler(
                uri, iteration_log=False, epoch_log=False, experiment_name=EXPERIMENT, run_name=name,
                experiment_param=dict(facts),
            )  # fmt: skip
            self.handler.client.search_experiments(max_results=1)
        except (*self.failures, ValueError) as problem:
            first = str(problem).partition("\n")[0]
            raise InputError(f"cannot be used: {first}", where=f"--mlflow {uri}",
                             remedy="Such as http://server:5000 or sqlite:///runs.db") from None  # fmt: skip
        self.silent = False

    def start(self, engine: Engine) -> None:
        """Open the run, or find the one that was interrupted."""
        self._safely(partial(self.handler.start, engine))

    def record(self, entry: Mapping[str, float]) -> None:
        """Every figure of an entry, at its step."""
        run = self.handler.cur_run
        if run is None:
            return
        for key, value in entry.items():
            if key != "step":
                log = self.handler.client.log_metric
                self._safely(partial(log, run.info.run_id, key, value, step=int(entry["step"])))

    def close(self) -> None:
        """Mark the run as finished."""
        if self.handler.cur_run is not None:
            self._safely(self.handler.close)

    def _safely(self, action: Callable[[], object]) -> None:
        """A server that fails costs its log, which `training.jsonl` has too, and not the training."""
        try:
            action()
        except self.failures as problem:
            if not self.silent:
                logger.warning(
                    "MLflow does not answer (%s): figures go to training.jsonl alone", type(problem).__name__
                )
            self.silent = True

"""A training as an MLflow run: its figures arrive at their steps, a resumed one goes on, and a server may fail."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from ambient_mri.errors import InputError
from ambient_mri.prior import tracking
from ambient_mri.prior.training import TrainOptions, train

mlflow = pytest.importorskip("mlflow", reason="the extra 'tracking' is not installed")


SPEC = """
based_on: brain_demo
source: {kind: brain_demo, subjects: 12, image_size: 32, seed: 0}
acquisition: {coils: 2}
split: {validation: 2, test: 2, seed: 0}
"""


def _options(out: Path, uri: str, steps: int) -> TrainOptions:
    spec = out.parent / "small.yaml"
    spec.write_text(SPEC)
    return TrainOptions(str(spec), out, steps=steps, preset="tiny", mlflow=uri)


def test_figures_arrive_and_a_resumed_training_goes_on_with_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/another.db")  # what was asked for comes first
    uri, out = f"sqlite:///{tmp_path}/runs.db", tmp_path / "mine"
    train(_options(out, uri, 10))
    train(_options(out, uri, 20))
    client = mlflow.MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name(tracking.EXPERIMENT)
    runs = client.search_runs(experiment.experiment_id)
    assert not (tmp_path / "another.db").exists()
    assert {run.info.run_name for run in runs} == {"mine"}
    assert all(run.data.params["data"] == "small" for run in runs)
    assert all(run.info.status == "FINISHED" for run in runs)
    logged = {
        (metric.step, metric.key): metric.value
        for run in runs
        for key in ("loss", "withheld_nmse")
        for metric in client.get_metric_history(run.info.run_id, key)
    }
    lines = [json.loads(line) for line in (out / "training.jsonl").read_text().splitlines()]
    expected = {(line["step"], key): line[key] for line in lines for key in ("loss", "withheld_nmse") if key in line}
    assert logged == expected
    assert {step for step, _ in expected} == {10, 20}


def test_where_nothing_can_be_kept_is_refused_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.chdir(tmp_path)  # where no folder is called "runs"
    for uri in ("", "runs", "http://127.0.0.1:9"):
        with pytest.raises(InputError, match=f"--mlflow {uri}: cannot be used" if uri else "names no server"):
            train(_options(tmp_path / "mine", uri, 10))
    assert not (tmp_path / "mine" / "training.jsonl").exists()


def test_a_server_that_fails_later_costs_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise mlflow.exceptions.MlflowException("gone")

    monkeypatch.setattr(mlflow.MlflowClient, "log_metric", broken)
    with caplog.at_level(logging.WARNING, logger="ambient_mri.training"):
        train(_options(tmp_path / "mine", f"sqlite:///{tmp_path}/runs.db", 20))
    assert (tmp_path / "mine" / "bundle").is_dir()
    assert sum("MLflow does not answer" in record.message for record in caplog.records) == 1

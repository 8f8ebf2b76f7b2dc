"""Pipelines take the numbers that the commands take, and refuse others in one line."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

PIPELINES = sorted((Path(__file__).parents[2] / "pipelines").glob("*.py"))
SEEDED = [path for path in PIPELINES if "given.seed" in path.read_text("utf-8")]


@pytest.mark.parametrize("text", ["-1", "99999999999999999999999", "1.5"])
@pytest.mark.parametrize("path", SEEDED, ids=lambda path: path.stem)
def test_seeds_that_no_generator_takes_are_refused(path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    pipeline = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pipeline)
    with pytest.raises(SystemExit) as left:
        pipeline.main([f"--seed={text}"])
    assert left.value.code == 2
    assert f"{text} is not a whole number from 0 to" in capsys.readouterr().err


def test_most_pipelines_are_seeded() -> None:
    assert len(SEEDED) >= 9

"""The study of small lesions as a user runs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines import lesions as pipeline


@pytest.mark.usefixtures("untuned")
def test_the_pipeline_writes_a_page_with_pictures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["brain_flair_64", "--data", "brain_demo", "--acceleration", "4", "--methods", "one-step", "zero-filled"]
    asked += ["--diameters", "3", "--limit", "4", "--tuning-slices", "1", "--contrast", "-0.4", "--out", str(tmp_path)]
    assert pipeline.main(asked) == 0
    page = (tmp_path / "results.html").read_text()
    assert page.count("<img") == 6, "truth and two methods, with it and without it"
    assert "<script" not in page
    assert "40% darker" in page
    facts = json.loads((tmp_path / "results.json").read_text())
    assert [row["method"] for row in facts["rows"]] == ["one-step", "zero-filled"]
    assert 0.2 < facts["rows"][0]["recovered"]["mean"] < 1.1
    assert "| 4 | 3 | one-step |" in capsys.readouterr().out

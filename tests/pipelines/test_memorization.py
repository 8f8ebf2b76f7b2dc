"""Two priors of the same few patients, and their audits."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest

from ambient_mri.audit import levels
from ambient_mri.audit.levels import Level
from ambient_mri.audit.results import AuditResult
from ambient_mri.data.spec import load_spec
from ambient_mri.evaluation.comparison import twin

ROOT = Path(__file__).parents[2]
COHORT = """
based_on: brain_demo
source: {subjects: 64, image_size: 32}
split: {validation: 16, test: 16}
"""


def test_the_same_few_patients_from_corrupted_and_from_clean_scans(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(levels.LEVELS, "quick", Level(52, 2, None, 3, (0.5,), 6, 1, 6, 0))
    cohort = str(tmp_path / "cohort.yaml")
    (tmp_path / "cohort.yaml").write_text(COHORT)
    clean = twin(cohort, load_spec(cohort), tmp_path)
    run = runpy.run_path(str(ROOT / "pipelines" / "memorization_vs_clean.py"))["main"]
    out = tmp_path / "out"
    words = ["--data", cohort, "--clean", clean, "--out", str(out)]
    words += ["--patients", "12", "--preset", "tiny", "--steps", "2", "--level", "quick"]
    assert run(words) == 0
    assert "| verdict |" in capsys.readouterr().out
    results = {}
    for name, method in (("corrupted", "ambient"), ("clean", "naive")):
        results[name] = AuditResult.from_json((out / f"audit_{name}" / "audit.json").read_text(), name)
        card = json.loads((out / name / "bundle" / "configs" / "card.json").read_text())
        assert (card["method"], card["data"], card["steps"]) == (method, name, 2)
        assert (results[name].data.train_patients, results[name].data.scans) == (12, "images")
        assert results[name].data.holdout_patients > 20, "validation and test of the whole cohort"
        assert (out / f"audit_{name}" / "annex.html").stat().st_mode & 0o077 == 0
    assert results["clean"].curves.nearest_train != results["corrupted"].curves.nearest_train
    assert "hold-out of the first" in (out / "audit_comparison.html").read_text()

    before = (out / "audit_clean" / "audit.json").stat().st_mtime_ns
    assert run(words) == 0
    assert (out / "audit_clean" / "audit.json").stat().st_mtime_ns == before, "finished audits are not repeated"
    assert run([*words, "--patients", "13"]) == 2, "another cohort in the same folder"
    assert "data_sha256" in capsys.readouterr().err

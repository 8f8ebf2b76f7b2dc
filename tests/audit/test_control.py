"""The control of an audit, a network that was made to overfit: in a file of its own, since it trains for minutes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ambient_mri.audit import control, levels
from tests.audit.small import SMALL, audited

PATIENTS = 4
"""Fewer than in an audit are known by heart sooner: four by 200 steps (p = .001), of eight by 400, of 20 by 1 000."""
CONTROL = f"a network overfitted to {PATIENTS} patients is detected"


def _controlled(spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: int) -> dict[str, Any]:
    """The audit of an innocent generator, with a control of so many training steps."""
    level = replace(SMALL, control_steps=steps, sampler_steps=2 if steps == 1 else 5)
    monkeypatch.setitem(levels.LEVELS, "quick", level)
    monkeypatch.setattr(control, "PATIENTS", PATIENTS)
    document = audited(spec, tmp_path, "measured", copied=False)
    work = tmp_path / "out" / "work"
    assert not (work / "control").exists()  # it knew patients by heart
    assert set(json.loads((work / "control.json").read_text())) == {"p_value", "patients"}
    assert not any("no overfitted generator" in line for line in document["limitations"])
    return document


def test_a_control_that_learned_nothing_makes_silence_invalid(
    spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = _controlled(spec, tmp_path, monkeypatch, 1)
    [gate] = [gate for gate in document["gates"] if gate["name"] == CONTROL]
    assert not gate["passed"]
    assert gate["guards"] == "missed copies"
    assert document["verdict"] == "INVALID"
    assert CONTROL in document["sentences"][0]


@pytest.mark.slow
def test_a_control_that_learned_its_patients_by_heart_is_detected(
    spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = _controlled(spec, tmp_path, monkeypatch, 250)
    [gate] = [gate for gate in document["gates"] if gate["name"] == CONTROL]
    assert gate["passed"], gate

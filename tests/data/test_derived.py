"""Specs that programs write."""

from __future__ import annotations

from pathlib import Path

import pytest

from ambient_mri.data.derived import derive
from ambient_mri.data.spec import load_spec


def test_a_spec_by_name_or_by_a_path_from_here_is_found_wherever_the_new_one_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("own.yaml").write_text("based_on: brain_demo\ntitle: Köpfe\n", "utf-8")
    for data in ("own.yaml", "./own.yaml", "brain_demo"):
        changed = load_spec(derive(data, tmp_path / "runs" / "small.yaml", {"split": {"train": 3}}))
        base = load_spec(data)
        assert (changed.name, changed.title, changed.split.train) == ("small", base.title, 3)
        assert (changed.source, changed.acquisition) == (base.source, base.acquisition)
        assert (changed.split.validation, changed.split.test) == (base.split.validation, base.split.test)

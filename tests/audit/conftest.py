"""What the audits of tests are of."""

from __future__ import annotations

from pathlib import Path

import pytest

from ambient_mri.audit import levels
from tests.audit.small import SMALL, SPEC


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Subjects of 32 × 32, and a quick level that is quicker."""
    monkeypatch.setitem(levels.LEVELS, "quick", SMALL)
    path = tmp_path / "small.yaml"
    path.write_text(SPEC)
    return path

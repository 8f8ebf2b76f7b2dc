"""What the tests of several pipelines share."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.fixture
def untuned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every strength is what its search begins with: for pipelines whose many rows would each be tuned."""

    def first(score: Callable[[float], float], start: float) -> tuple[float, list[tuple[float, float]]]:
        return start, [(start, score(start))]

    for module in ("contenders", "observed"):
        monkeypatch.setattr(f"ambient_mri.evaluation.{module}.tune", first)

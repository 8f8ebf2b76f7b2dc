"""Time left: by pixels, not by cases; nothing is learned from what was skipped."""

from __future__ import annotations

import pytest

from ambient_mri.reconstruction.pace import Pace, spoken


class _Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_large_cases_count_for_more() -> None:
    clock, lines = _Clock(), list[str]()
    pace = Pace(1000 + 100 + 900, lines.append, clock)
    pace.begin("skipped", 1000, 10)
    pace.end(worked=False)
    assert pace.left() == "", "nothing to judge by yet"
    pace.begin("small", 100, 1)
    clock.now += 5
    pace.end(worked=True)
    assert pace.left() == ", 45 s left"
    pace.begin("large", 900, 9)
    clock.now += 31
    pace.advanced(3)
    assert lines == ["large: 3 of 9 slices, 54 s left"]
    clock.now += 1
    pace.advanced(4)
    assert len(lines) == 1, "not more often than every half minute"
    clock.now += 60
    pace.end(worked=True)
    assert pace.left() == ", 0 s left"


@pytest.mark.parametrize(("seconds", "words"), [(3, "3 s"), (99, "99 s"), (600, "10 min"), (12_000, "3 h 20 min")])
def test_times_are_said_as_people_do(seconds: float, words: str) -> None:
    assert spoken(seconds) == words

"""How long a job will still take, judged by the pixels it has done and those that are left."""

from __future__ import annotations

import time
from collections.abc import Callable

QUIET = 30.0
"""Seconds between lines within a case."""


class Pace:
    """Time left of a job.

    Parameters
    ----------
    total
        Pixels of all cases: slices · rows · columns.
    say
        Called with a line now and then while a long case runs.
    """

    def __init__(
        self, total: float, say: Callable[[str], None], clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self._waiting, self._say, self._clock = total, say, clock
        self._worked, self._pixels = 0.0, 0.0
        self._name, self._size, self._slices, self._part = "", 0.0, 1, 0.0
        self._started = self._spoken = clock()

    def begin(self, name: str, pixels: float, slices: int) -> None:
        """A case starts."""
        self._name, self._size, self._slices, self._part = name, pixels, slices, 0.0
        self._started = self._spoken = self._clock()

    def advanced(self, slices: int) -> None:
        """So many slices of the case are done."""
        self._part = slices / self._slices
        now = self._clock()
        if now - self._spoken >= QUIET and slices < self._slices:
            self._spoken = now
            self._say(f"{self._name}: {slices} of {self._slices} slices{self.left()}")

    def end(self, *, worked: bool) -> None:
        """The case is over. `worked`: it took the time that its size takes; not if it was skipped, or failed early."""
        if worked:
            self._worked += self._clock() - self._started
            self._pixels += self._size
        self._waiting -= self._size
        self._size = self._part = 0.0

    def arrived(self, pixels: float, *, worked: bool) -> None:
        """A case is over that ran elsewhere, beside others: what counts is the time since the one before."""
        now = self._clock()
        if worked:
            self._worked += now - self._started
            self._pixels += pixels
        self._waiting -= pixels
        self._started = now

    def left(self) -> str:
        """ ", 3 min left", or nothing while there is nothing to judge by."""
        running = self._clock() - self._started if self._part else 0.0
        pixels = self._pixels + self._part * self._size
        if pixels <= 0:
            return ", 0 s left" if self._waiting <= 0 else ""
        return f", {spoken((self._worked + running) / pixels * (self._waiting - self._part * self._size))} left"


def spoken(seconds: float) -> str:
    """48 s, 12 min, 3 h 20 min."""
    if seconds < 100:
        return f"{max(seconds, 0):.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"

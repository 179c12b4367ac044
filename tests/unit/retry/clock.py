"""A clock that moves only when somebody sleeps or the test says so."""

from __future__ import annotations

import types

import pytest

from petiole_workers.retry import retrying


class Clock:
    """Stands in for the time of :mod:`petiole_workers.retry.retrying` and of those who sleep for it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.slept: list[float] = []
        stand_in = types.SimpleNamespace(monotonic=lambda: self.now, sleep=self.sleep)
        monkeypatch.setattr(retrying, "time", stand_in)
        monkeypatch.setattr("petiole_workers.caller.time", stand_in)
        monkeypatch.setattr("tenacity.nap.time", stand_in)

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

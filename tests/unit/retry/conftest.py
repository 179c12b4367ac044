"""A clock of the test's own, and strategies that remember nothing of other tests."""

from __future__ import annotations

import pytest

from petiole_workers.retry import adaptive
from petiole_workers.retry.streaks import Streaks
from tests.unit.retry.clock import Clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.fixture(autouse=True)
def streaks(monkeypatch: pytest.MonkeyPatch) -> Streaks:
    """The memory of Adaptive, empty."""
    fresh = Streaks()
    monkeypatch.setattr(adaptive, "streaks", fresh)
    return fresh

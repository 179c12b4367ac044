"""A clock that a test moves: the store's time in place of the real one."""

from __future__ import annotations

import time
from datetime import datetime, timedelta

from petiole_stores.errors import InputError


class Clock:
    """Seconds since the epoch, standing still until it is moved. It never goes back.

    ``start`` is where it begins (nothing: now).
    """

    def __init__(self, start: float | None = None) -> None:
        self._now = time.time() if start is None else start

    def __repr__(self) -> str:
        return f"<Clock at {self._now:.3f}>"

    def __call__(self) -> float:
        return self._now

    def tick(self, seconds: float | timedelta) -> float:
        """Move on by so many seconds; gives the new time. Raises InputError for a step back."""
        step = seconds.total_seconds() if isinstance(seconds, timedelta) else seconds
        return self.advance_to(self._now + step)

    def advance_to(self, at: float | datetime) -> float:
        """Move on to a time (seconds since the epoch, or an aware datetime); gives it. Raises InputError for a past one."""
        goal = at.timestamp() if isinstance(at, datetime) else at
        if goal < self._now:
            raise InputError(f"the clock is at {self._now:.3f} and cannot go back to {goal:.3f}")
        self._now = goal
        return goal

"""Times as callers give them: moments, and spans from now by the store's clock."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from petiole_stores.errors import InputError


class Start(NamedTuple):
    """When a run may start: at a time, or so many seconds from now by the store's clock."""

    run_at: float | None = None
    delay: float | None = None

    @classmethod
    def of(cls, at: datetime | timedelta | float | None) -> Start:
        """From an aware datetime or seconds since the epoch (a moment), or a timedelta (from now)."""
        if isinstance(at, timedelta):
            return cls(delay=at.total_seconds())
        return cls(run_at=epoch(at))


class Deadline(NamedTuple):
    """When a run fails that has not ended: at a time, or so many seconds after it may start."""

    deadline: float | None = None
    lifetime: float | None = None

    @classmethod
    def of(cls, given: datetime | timedelta | float | None) -> Deadline:
        """From an aware datetime (a moment), or a timedelta or seconds (from the time at which the run may start)."""
        if isinstance(given, datetime):
            return cls(deadline=epoch(given))
        return cls(lifetime=given.total_seconds() if isinstance(given, timedelta) else given)


def epoch(at: datetime | float | None) -> float | None:
    """Seconds since the epoch. Raises InputError for a datetime without a time zone."""
    if not isinstance(at, datetime):
        return at
    if at.tzinfo is None:
        raise InputError(
            f"the time {at.isoformat()} is without a time zone: give it one (datetime.now(UTC) + ...)"
        )
    return at.timestamp()

"""`TimeoutPolicy`: how long one attempt at a node may take, and how long it may go without a sign of progress."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

Seconds = float | timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeoutPolicy:
    """Limits of one attempt; LangGraph's fields.

    run_timeout: seconds (or a timedelta) for the whole attempt.
    idle_timeout: seconds (or a timedelta) since the attempt began or last gave a sign of progress.
    refresh_on: which signs count: ``auto`` for everything that the node does through its runtime (heartbeats, sleeps,
        stream writes), ``heartbeat`` for ``runtime.heartbeat()`` alone.
    """

    run_timeout: Seconds | None = None
    idle_timeout: Seconds | None = None
    refresh_on: Literal["auto", "heartbeat"] = "auto"

    @classmethod
    def of(cls, given: Seconds | TimeoutPolicy | None) -> TimeoutPolicy | None:
        """The policy in plain seconds; a bare number or timedelta is a ``run_timeout``. ``None`` where nothing is limited.

        Raises ValueError for what is no number of seconds above 0, TypeError for anything else.
        """
        if given is None:
            return None
        policy = cls(run_timeout=given) if isinstance(given, int | float | timedelta) else given
        if not hasattr(policy, "run_timeout"):  # LangGraph's class will do
            raise TypeError("give seconds, a timedelta or a TimeoutPolicy")
        run, idle = _seconds(policy.run_timeout, "run_timeout"), _seconds(policy.idle_timeout, "idle_timeout")
        if policy.refresh_on not in ("auto", "heartbeat"):
            raise ValueError(f"refresh_on is {policy.refresh_on!r}: take 'auto' or 'heartbeat'")
        if run is None and idle is None:
            return None
        return cls(run_timeout=run, idle_timeout=idle, refresh_on=policy.refresh_on)

    @property
    def run_seconds(self) -> float | None:
        """``run_timeout`` in seconds."""
        return _seconds(self.run_timeout, "run_timeout")

    @property
    def idle_seconds(self) -> float | None:
        """``idle_timeout`` in seconds."""
        return _seconds(self.idle_timeout, "idle_timeout")


def _seconds(given: Seconds | None, field: str) -> float | None:
    if given is None:
        return None
    seconds = given.total_seconds() if isinstance(given, timedelta) else given
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise TypeError(f"{field} is {given!r}: give seconds, a timedelta or None")
    if not 0 < seconds < math.inf:
        raise ValueError(f"{field} is {given!r}: give a number of seconds above 0")
    return float(seconds)

"""A Celery task's rules of retrying, as a strategy for the node that it is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from celery.exceptions import SoftTimeLimitExceeded

from petiole_stores.errors import InvalidUpdateError
from petiole_workers.limits import NodeTimeoutError
from petiole_workers.retry.strategy import Strategy


@dataclass(frozen=True)
class AutoRetry(Strategy):
    """``autoretry_for`` and what goes with it; each field is Celery's option of that name.

    max_retries: tries beyond the first one; ``None`` for no limit.
    countdown: seconds before a retry, where ``retry_backoff`` is 0.
    retry_backoff: seconds before the first retry, each further wait being twice as long, up to ``retry_backoff_max``.
    retry_jitter: wait a random part of that instead of all of it.
    """

    autoretry_for: tuple[type[BaseException], ...] = ()
    dont_autoretry_for: tuple[type[BaseException], ...] = ()
    max_retries: int | None = 3
    countdown: float = 180.0
    retry_backoff: float = 0.0
    retry_backoff_max: int = 600
    retry_jitter: bool = True

    @classmethod
    def of(cls, task: Any) -> AutoRetry:
        """The rules of a task. As in Celery, ``retry_kwargs`` goes before the task's own limits."""
        given = dict(getattr(task, "retry_kwargs", None) or {})
        countdown = given.get("countdown")
        return cls(
            tuple(getattr(task, "autoretry_for", ())),
            tuple(getattr(task, "dont_autoretry_for", ())),
            given["max_retries"] if given.get("max_retries") is not None else task.max_retries,
            float(task.default_retry_delay if countdown is None else countdown),
            float(getattr(task, "retry_backoff", False)),
            int(getattr(task, "retry_backoff_max", 600)),
            bool(getattr(task, "retry_jitter", True)),
        )

    def retries(self, exc: Exception) -> bool:
        """Whether ``exc`` is of ``autoretry_for``. A node past its time counts as Celery's soft time limit."""
        if isinstance(exc, InvalidUpdateError):  # the same call would give the same answer
            return False
        kind = SoftTimeLimitExceeded if isinstance(exc, NodeTimeoutError) else type(exc)
        return issubclass(kind, self.autoretry_for) and not issubclass(kind, self.dont_autoretry_for)

    def exhausted(self, failures: int, elapsed: float) -> bool:
        """Whether all retries are used up."""
        return self.max_retries is not None and failures > self.max_retries

    def delay(self, failures: int, random: Callable[[], float], key: str = "") -> float:
        """Seconds to wait after the ``failures``-th failure: whole ones with a backoff, as Celery's are."""
        if not self.retry_backoff:
            return self.countdown
        first = int(max(1.0, self.retry_backoff))
        wait = min(self.retry_backoff_max, first * 2 ** min(failures - 1, 64))
        return float(int(random() * (wait + 1)) if self.retry_jitter else wait)


@dataclass(frozen=True)
class Asked(Strategy):
    """What ``self.retry()`` has asked for: one more try, so many seconds from now."""

    countdown: float
    retry_on: Any = field(default=Exception, repr=False)

    def exhausted(self, failures: int, elapsed: float) -> bool:
        """Never: ``self.retry()`` itself counts."""
        return False

    def delay(self, failures: int, random: Callable[[], float], key: str = "") -> float:
        """Seconds to wait."""
        return self.countdown

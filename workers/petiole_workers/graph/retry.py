"""LangGraph's `RetryPolicy`, its fields and its defaults; Petiole's own strategies are in :mod:`petiole_workers.retry`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from petiole_workers.retry import RetryOn, Strategy, default_retry_on
from petiole_workers.retry.backoff import grown


@dataclass(frozen=True, slots=True)
class RetryPolicy(Strategy):
    """How often and how long after one another a node is tried.

    initial_interval: seconds before the first retry.
    backoff_factor: what each further wait is multiplied by.
    max_interval: the longest wait, in seconds.
    max_attempts: tries in all, the first one counted.
    jitter: add up to one random second to each wait.
    retry_on: the exception class or classes to retry, or a function that is given the exception.
    """

    initial_interval: float = 0.5
    backoff_factor: float = 2.0
    max_interval: float = 128.0
    max_attempts: int = 3
    jitter: bool = True
    retry_on: RetryOn = default_retry_on

    def exhausted(self, failures: int, elapsed: float) -> bool:
        """Whether all tries are used up."""
        return failures >= self.max_attempts

    def delay(self, failures: int, random: Callable[[], float], key: str = "") -> float:
        """Seconds to wait after the ``failures``-th failure in a row; ``random`` gives a number in [0, 1)."""
        wait = grown(self.initial_interval, self.backoff_factor, failures - 1, self.max_interval)
        return wait + random() if self.jitter else wait

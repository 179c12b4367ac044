"""Waits that stretch for as long as a node or store keeps failing on this worker."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from petiole_workers.retry.arguments import check_count, check_flag, check_number, check_rule, check_waits
from petiole_workers.retry.backoff import grown, jittered
from petiole_workers.retry.matching import RetryOn, default_retry_on
from petiole_workers.retry.strategy import Strategy
from petiole_workers.retry.streaks import Streaks

#: How each node and store fares in this process, by strategy and key.
streaks = Streaks()


@dataclass(frozen=True, slots=True)
class Adaptive(Strategy):
    """Exponential waits, stretched while the node or store keeps failing on this worker.

    After ``threshold`` failures in a row, whichever tasks or calls they came from, each further one stretches the waits by
    ``backoff_factor``; each success takes one stretch back. Equal strategies share what this process knows of a node.

    threshold: failures in a row before waits are stretched.
    backoff_factor: what each further failure multiplies the waits by.
    base_delay: seconds before the first retry.
    max_delay: the longest wait, stretched or not, in seconds.
    multiplier: what each further wait is multiplied by.
    jitter: wait a random part of that instead of all of it (full jitter).
    max_attempts: attempts in all, the first one counted; ``None`` for no limit.
    retry_on: the exception class or classes to retry, or a function that is given the exception.

    Raises InputError for an argument out of range.
    """

    threshold: int = 3
    backoff_factor: float = 1.5
    base_delay: float = 0.1
    max_delay: float = 30.0
    multiplier: float = 2.0
    jitter: bool = True
    max_attempts: int | None = 3
    retry_on: RetryOn = default_retry_on

    def __post_init__(self) -> None:
        check_count(self, "threshold", self.threshold, least=1)
        check_number(self, "backoff_factor", self.backoff_factor, least=1.0)
        check_waits(self, self.base_delay, self.max_delay, self.multiplier)
        check_flag(self, "jitter", self.jitter)
        check_count(self, "max_attempts", self.max_attempts, least=1, or_none=True)
        object.__setattr__(self, "retry_on", check_rule(self, self.retry_on))

    def exhausted(self, failures: int, elapsed: float) -> bool:
        """Whether all attempts are used up."""
        return self.max_attempts is not None and failures >= self.max_attempts

    def delay(self, failures: int, random: Callable[[], float], key: str = "") -> float:
        """Seconds to wait after the ``failures``-th failure in a row; ``random`` gives a number in [0, 1)."""
        wait = grown(self.base_delay, self.multiplier, failures - 1, self.max_delay)
        wait = grown(wait, self.backoff_factor, streaks.stretches((self, key)), self.max_delay)
        return jittered(wait, random) if self.jitter else wait

    def failed(self, key: str) -> None:
        """One more failure in a row; from the one after ``threshold`` on, one more stretch."""
        streaks.failed((self, key), self.threshold, self._most)

    def succeeded(self, key: str) -> None:
        """The row of failures is over; one stretch less."""
        streaks.succeeded((self, key))

    @property
    def _most(self) -> int:
        """Stretches that bring the first wait to ``max_delay``: more would only take longer to shrink."""
        if self.backoff_factor <= 1.0:
            return 0
        return math.ceil(math.log(self.max_delay / self.base_delay) / math.log(self.backoff_factor))

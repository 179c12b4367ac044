"""The strategy to start with: growing waits with full jitter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from petiole_workers.retry.arguments import check_count, check_flag, check_rule, check_waits
from petiole_workers.retry.backoff import grown, jittered
from petiole_workers.retry.matching import RetryOn, default_retry_on
from petiole_workers.retry.strategy import Strategy


@dataclass(frozen=True, slots=True)
class Exponential(Strategy):
    """Waits that grow from one failure to the next.

    base_delay: seconds before the first retry.
    max_delay: the longest wait, in seconds.
    multiplier: what each further wait is multiplied by.
    jitter: wait a random part of that instead of all of it (full jitter).
    max_attempts: attempts in all, the first one counted; ``None`` for no limit.
    retry_on: the exception class or classes to retry, or a function that is given the exception.

    Raises InputError for an argument out of range.
    """

    base_delay: float = 0.1
    max_delay: float = 30.0
    multiplier: float = 2.0
    jitter: bool = True
    max_attempts: int | None = 3
    retry_on: RetryOn = default_retry_on

    def __post_init__(self) -> None:
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
        return jittered(wait, random) if self.jitter else wait

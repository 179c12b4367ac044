"""For when a quick answer, even a failure, is worth more than patience."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from petiole_workers.retry.arguments import check_flag, check_number, check_rule
from petiole_workers.retry.exponential import Exponential
from petiole_workers.retry.matching import RetryOn, default_retry_on
from petiole_workers.retry.strategy import Strategy

_CALM = Exponential()


@dataclass(frozen=True, slots=True)
class Emergency(Strategy):
    """When on, retries without waiting until ``timeout``, then fails over.

    A node's failure then goes to its error handler, or fails its task; a store's goes to the worker, which takes to degraded
    mode at once. When off, it waits and counts as ``Exponential()`` does.

    emergency_mode: whether it is on.
    timeout: seconds after the first failure that this process saw, after which no further attempt is made.
    retry_on: the exception class or classes to retry, or a function that is given the exception.

    Raises InputError for an argument out of range.
    """

    emergency_mode: bool = False
    timeout: float = 5.0
    retry_on: RetryOn = default_retry_on

    def __post_init__(self) -> None:
        check_flag(self, "emergency_mode", self.emergency_mode)
        check_number(self, "timeout", self.timeout, least=0.0, unit=" s")
        object.__setattr__(self, "retry_on", check_rule(self, self.retry_on))

    def exhausted(self, failures: int, elapsed: float) -> bool:
        """Whether the time is over; when off, whether all attempts are used up."""
        return elapsed >= self.timeout if self.emergency_mode else _CALM.exhausted(failures, elapsed)

    def delay(self, failures: int, random: Callable[[], float], key: str = "") -> float:
        """No wait; when off, a growing one with full jitter."""
        return 0.0 if self.emergency_mode else _CALM.delay(failures, random)

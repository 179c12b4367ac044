"""The same wait before every retry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from petiole_workers.retry.arguments import check_count, check_number, check_rule
from petiole_workers.retry.matching import RetryOn, default_retry_on
from petiole_workers.retry.strategy import Strategy


@dataclass(frozen=True, slots=True)
class Fixed(Strategy):
    """The same wait before every retry.

    interval: seconds before each retry.
    max_retries: retries after the first attempt; ``None`` for no limit.
    retry_on: the exception class or classes to retry, or a function that is given the exception.

    Raises InputError for an argument out of range.
    """

    interval: float = 1.0
    max_retries: int | None = 5
    retry_on: RetryOn = default_retry_on

    def __post_init__(self) -> None:
        check_number(self, "interval", self.interval, least=0.0, unit=" s")
        check_count(self, "max_retries", self.max_retries, least=0, or_none=True)
        object.__setattr__(self, "retry_on", check_rule(self, self.retry_on))

    def exhausted(self, failures: int, elapsed: float) -> bool:
        """Whether all retries are used up."""
        return self.max_retries is not None and failures > self.max_retries

    def delay(self, failures: int, random: Callable[[], float], key: str = "") -> float:
        """Seconds to wait: always ``interval``."""
        return self.interval

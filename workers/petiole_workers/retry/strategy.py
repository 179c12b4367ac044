"""What every retry strategy can be asked and told."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar, runtime_checkable

from petiole_workers.retry.matching import RetryOn, matches


@runtime_checkable
class RetryStrategy(Protocol):
    """When a failed attempt is made again.

    ``key`` names the node or store that was tried, for strategies that remember how it fares in this process.
    """

    def retries(self, exc: Exception) -> bool:
        """Whether ``exc`` is of those that it retries (attempts are not counted here)."""

    def exhausted(self, failures: int, elapsed: float) -> bool:
        """Whether no attempt comes after the ``failures``-th failure in a row, ``elapsed`` seconds after the first one
        that this process saw."""

    def delay(self, failures: int, random: Callable[[], float], key: str = "") -> float:
        """Seconds to wait after the ``failures``-th failure in a row; ``random`` gives a number in [0, 1)."""

    def failed(self, key: str) -> None:
        """An attempt at ``key`` has failed; told before ``delay`` is asked."""

    def succeeded(self, key: str) -> None:
        """An attempt at ``key`` has succeeded."""


class Strategy:
    """What most strategies share: they judge an exception by ``retry_on`` and remember nothing."""

    __slots__ = ()

    retry_on: RetryOn

    def retries(self, exc: Exception) -> bool:
        """Whether ``exc`` is of those that this strategy retries (attempts are not counted here)."""
        return matches(self.retry_on, exc)

    def failed(self, key: str) -> None:
        """Nothing to remember."""

    def succeeded(self, key: str) -> None:
        """Nothing to remember."""


S = TypeVar("S", bound=RetryStrategy)

#: The attribute of an exception that says itself when the attempt which raised it is made again: its own strategy.
OWN_STRATEGY = "__petiole_retry__"


def strategy_for(strategies: Iterable[S], error: BaseException) -> S | RetryStrategy | None:
    """The exception's own strategy, else the first one that takes it, as LangGraph matches a list of policies.

    What stands outside ``Exception`` (cancellation, Ctrl-C) is never retried.
    """
    if not isinstance(error, Exception):
        return None
    own: RetryStrategy | None = getattr(error, OWN_STRATEGY, None)
    if own is not None:
        return own
    return next((strategy for strategy in strategies if strategy.retries(error)), None)

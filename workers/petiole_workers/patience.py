"""Calling the store again while it cannot be reached: every ledger operation may be."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

import tenacity

from petiole_stores.errors import StoreUnavailableError
from petiole_stores.store import Store
from petiole_workers.retry import Adaptive, Emergency, Exponential, Fixed, RetryStrategy
from petiole_workers.retry.retrying import retrying
from petiole_workers.settings import Settings

T = TypeVar("T")
logger = logging.getLogger("petiole.store")

#: How long a worker keeps trying one operation, in seconds; its claim is then left to the sweep.
LIMIT = 60.0

#: The strategies that ``store_retry`` names. The limit ends the attempts, not a count, and a store that is back is to be
#: used soon: unstretched waits are 5 s at most.
STRATEGIES: Mapping[str, RetryStrategy] = {
    "exponential": Exponential(max_delay=5.0, max_attempts=None, retry_on=StoreUnavailableError),
    "fixed": Fixed(max_retries=None, retry_on=StoreUnavailableError),
    "adaptive": Adaptive(max_attempts=None, retry_on=StoreUnavailableError),
    "emergency": Emergency(emergency_mode=True, retry_on=StoreUnavailableError),
}


def patiently(
    operation: Callable[[], T],
    *,
    limit: float = LIMIT,
    strategy: RetryStrategy = STRATEGIES["exponential"],
    key: str = "store",
) -> T:
    """The operation's answer; while the store is unavailable it is called again as ``strategy`` says, up to ``limit``.

    Parameters
        limit     seconds after the first failure; the second call is made in any case
        strategy  decides on waits and attempts; other errors than StoreUnavailableError are never retried
        key       names the store, for strategies that remember how it fares

    Raises StoreUnavailableError when the strategy or the limit ends the attempts.
    """
    try:  # first without tenacity's loop, which costs more than some stores' answers
        answer = operation()
    except StoreUnavailableError as error:
        failure: StoreUnavailableError | None = error
    else:
        strategy.succeeded(key)
        return answer

    def attempt() -> T:
        nonlocal failure
        if failure is not None:  # the one above, for the loop to take up
            first, failure = failure, None
            raise first
        return operation()

    loop = retrying(
        (strategy,),
        key=key,
        only=StoreUnavailableError,
        limit=limit,
        sleep=tenacity.nap.sleep,
        before_sleep=_say,
    )
    return loop(attempt)


@dataclass(frozen=True)
class Patience:
    """:func:`patiently` for one store: called with an operation, it returns its answer."""

    key: str = "store"
    limit: float = LIMIT
    strategy: RetryStrategy = STRATEGIES["exponential"]

    @classmethod
    def of(cls, settings: Settings, store: Store) -> Patience:
        """As ``store_retry`` and ``store_timeout`` say."""
        return cls(store.url.shown, settings.store_timeout, STRATEGIES[settings.store_retry])

    def __call__(self, operation: Callable[[], T]) -> T:
        return patiently(operation, limit=self.limit, strategy=self.strategy, key=self.key)


def _say(state: tenacity.RetryCallState) -> None:
    if state.attempt_number == 1 and state.outcome is not None:
        logger.warning("the store is unavailable, trying again: %s", state.outcome.exception())

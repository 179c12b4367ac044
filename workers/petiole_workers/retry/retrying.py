"""tenacity's loop, led by retry strategies."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence

import tenacity

from petiole_workers.retry.strategy import RetryStrategy, strategy_for


def retrying(
    strategies: Sequence[RetryStrategy],
    *,
    key: str = "",
    failures: int = 0,
    only: type[BaseException] = Exception,
    limit: float | None = None,
    sleep: Callable[[float], None] = time.sleep,
    before_sleep: Callable[[tenacity.RetryCallState], None] | None = None,
) -> tenacity.Retrying:
    """A tenacity loop that calls what it is given until that succeeds or no strategy has it called again.

    Parameters
        strategies    the first one that takes an exception decides on it
        key           names what is called, for strategies that remember how it fares
        failures      how many attempts failed before, elsewhere: they count, and waits go on from there
        only          no other exceptions are retried, whatever the strategies say
        limit         seconds after the first failure here, after which it is called no more; the second call is always made
        sleep         waits between two attempts
        before_sleep  tenacity's hook, called before each wait

    Use it once, and as ``retrying(...)(function)``: it raises what the last attempt raised.
    """
    course = _Course(strategies, key, failures, only, limit)
    return tenacity.Retrying(
        retry=course.retry,
        stop=course.stop,
        wait=course.wait,
        sleep=sleep,
        before_sleep=before_sleep,
        reraise=True,
    )


class _Course:
    """One series of attempts, as tenacity's ``retry``, ``stop`` and ``wait`` ask for it."""

    def __init__(
        self,
        strategies: Sequence[RetryStrategy],
        key: str,
        failures: int,
        only: type[BaseException],
        limit: float | None,
    ) -> None:
        self._strategies, self._key, self._failures = strategies, key, failures
        self._only, self._limit = only, limit
        self._strategy: RetryStrategy | None = None
        self._first_failure: float | None = None

    def retry(self, state: tenacity.RetryCallState) -> bool:
        assert state.outcome is not None
        error = state.outcome.exception()
        if error is None:
            for strategy in self._strategies:
                strategy.succeeded(self._key)
            return False
        if self._first_failure is None:
            self._first_failure = time.monotonic()
        self._strategy = strategy_for(self._strategies, error) if isinstance(error, self._only) else None
        if self._strategy is None:
            return False
        self._strategy.failed(self._key)
        return True

    def stop(self, state: tenacity.RetryCallState) -> bool:
        assert self._strategy is not None
        elapsed = self._elapsed()
        if self._limit is not None and state.attempt_number > 1 and elapsed >= self._limit:
            return True
        return self._strategy.exhausted(self._failures + state.attempt_number, elapsed)

    def wait(self, state: tenacity.RetryCallState) -> float:
        assert self._strategy is not None
        delay = self._strategy.delay(self._failures + state.attempt_number, random.random, self._key)
        if self._limit is None:
            return delay
        return min(delay, max(self._limit - self._elapsed(), 0.0))

    def _elapsed(self) -> float:
        assert self._first_failure is not None
        return time.monotonic() - self._first_failure

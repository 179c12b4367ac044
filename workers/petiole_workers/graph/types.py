"""Small values of the authoring model."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

START: Final = "__start__"
END: Final = "__end__"


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()


@dataclass(frozen=True)
class Send:
    node: str
    arg: Any


def default_retry_on(error: BaseException) -> bool:
    if isinstance(error, ConnectionError):
        return True
    return not isinstance(error, (ValueError, TypeError, ArithmeticError, ImportError, LookupError, NameError,
                                  SyntaxError, RuntimeError, ReferenceError, StopIteration, StopAsyncIteration, OSError))


@dataclass(frozen=True)
class RetryPolicy:
    initial_interval: float = 0.5
    backoff_factor: float = 2.0
    max_interval: float = 128.0
    max_attempts: int = 3
    jitter: bool = True
    retry_on: Any = default_retry_on

    def retries(self, error: BaseException) -> bool:
        if isinstance(self.retry_on, (tuple, list)):
            return isinstance(error, tuple(self.retry_on))
        if isinstance(self.retry_on, type):
            return isinstance(error, self.retry_on)
        return bool(self.retry_on(error))

    def delay(self, failures: int) -> float:
        wait = min(self.max_interval, self.initial_interval * self.backoff_factor ** (failures - 1))
        return wait + random.uniform(0, 1) if self.jitter else wait

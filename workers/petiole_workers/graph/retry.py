"""When a failed attempt at a node is tried again: LangGraph's `RetryPolicy`, its fields and its defaults."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

#: A programming error, or an answer that the same call would get again.
_PERMANENT = (
    ValueError,
    TypeError,
    ArithmeticError,
    ImportError,
    LookupError,
    NameError,
    SyntaxError,
    RuntimeError,
    ReferenceError,
    StopIteration,
    StopAsyncIteration,
    OSError,
)

RetryOn = type[Exception] | Sequence[type[Exception]] | Callable[[Exception], bool]


def default_retry_on(exc: Exception) -> bool:
    """Whether ``exc`` looks like a passing trouble.

    Connection errors and HTTP answers of 500 and above are; Python's own programming errors and other
    ``OSError``s are not; an exception of any other class is. The rule is LangGraph's, save for one trap there:
    an HTTP error of ``requests`` is judged by its status too (LangGraph retries those of 400 and above).
    """
    if isinstance(exc, ConnectionError):
        return True
    status = _http_status(exc)
    if status is not None:
        return 500 <= status < 600
    return not isinstance(exc, _PERMANENT)


def _http_status(exc: Exception) -> int | None:
    """The status of an HTTP error of httpx or requests; a request without an answer counts as 500."""
    # An exception of these classes exists only where the library was imported: no need to import it here.
    for module, name in (("httpx", "HTTPStatusError"), ("requests", "HTTPError")):
        kind = getattr(sys.modules.get(module), name, None)
        if isinstance(kind, type) and isinstance(exc, kind):
            status = getattr(getattr(exc, "response", None), "status_code", None)
            return status if isinstance(status, int) else 500
    return None


@dataclass(frozen=True, slots=True)
class RetryPolicy:
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

    def retries(self, exc: Exception) -> bool:
        """Whether ``exc`` is of those that this policy retries (its attempts are not counted here)."""
        rule = self.retry_on
        if isinstance(rule, type):
            return isinstance(exc, rule)
        if isinstance(rule, Sequence):
            return isinstance(exc, tuple(rule))
        return bool(rule(exc))

    def delay(self, failures: int, random: Callable[[], float]) -> float:
        """Seconds to wait after the ``failures``-th failure in a row; ``random`` gives a number in [0, 1)."""
        wait = min(self.max_interval, self.initial_interval * self.backoff_factor ** (failures - 1))
        return wait + random() if self.jitter else wait

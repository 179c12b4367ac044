"""Which exceptions are worth another attempt."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

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


def matches(rule: RetryOn, exc: Exception) -> bool:
    """Whether a ``retry_on`` takes ``exc``: by class, by one of several classes, or by what a function says."""
    if isinstance(rule, type):
        return isinstance(exc, rule)
    if isinstance(rule, Sequence):
        return isinstance(exc, tuple(rule))
    return bool(rule(exc))


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

"""Exit codes, and the errors that stand for them (docs/cli.md lists them)."""

from __future__ import annotations

from enum import IntEnum

from petiole_stores.errors import (
    BrokerError,
    ConfigurationError,
    ConflictError,
    GraphError,
    InputError,
    NotFoundError,
    PetioleError,
    RunTimeoutError,
    SerializationError,
    StoreError,
)


class Exit(IntEnum):
    """What ``petiole`` ends with."""

    OK = 0
    FAILED = 1  #: a run failed, was cancelled or is interrupted; a check failed
    USAGE = 2  #: arguments, settings, a graph or an input are wrong
    NOT_FOUND = 3
    CONFLICT = 4  #: the thread is busy; the request contradicts what is stored
    UNAVAILABLE = 5  #: the store or the broker cannot be reached, or is not fit for use
    TIMEOUT = 6
    INTERRUPTED = 130  #: Ctrl-C


#: The first that fits counts.
_CODES: tuple[tuple[type[PetioleError], Exit], ...] = (
    (RunTimeoutError, Exit.TIMEOUT),
    (NotFoundError, Exit.NOT_FOUND),
    (ConflictError, Exit.CONFLICT),
    (StoreError, Exit.UNAVAILABLE),
    (BrokerError, Exit.UNAVAILABLE),
    (InputError, Exit.USAGE),
    (ConfigurationError, Exit.USAGE),
    (GraphError, Exit.USAGE),
    (SerializationError, Exit.USAGE),
)


def code_of(error: PetioleError) -> Exit:
    """The exit code for an error."""
    return next((code for kind, code in _CODES if isinstance(error, kind)), Exit.FAILED)

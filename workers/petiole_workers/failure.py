"""Exceptions as documents: what is stored of an error, and shown wherever the run is shown."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from types import TracebackType

import msgspec

from petiole_stores.decoding import decoder

MAX_TRACEBACK = 16_000
MAX_MESSAGE = 4_000
#: How many earlier tries of one attempt are kept with the last one, and how much of their tracebacks.
MAX_EARLIER = 10
MAX_EARLIER_TRACEBACK = 2_000

#: Where the engine's own code is, and the module that calls users' functions: frames above theirs tell a reader nothing.
ENGINE = os.path.dirname(os.path.abspath(__file__)) + os.sep
CALLER = os.path.join(ENGINE, "graph", "callables.py")

#: What billiard ends a pool process with at SIGTERM.
TERMINATED = -(256 - signal.SIGTERM)


class Failure(msgspec.Struct, kw_only=True):
    """A stored error. ``type`` is the exception's qualified name."""

    type: str
    message: str
    node: str = ""
    attempt: int = 0
    tries: int = 0  #: how many tries of the task had failed with this one; several may be made in one attempt
    traceback: str = ""
    handled: bool = False  #: the node's error handler gave the output in its stead
    #: tries of the same attempt that failed before, oldest first: the worker waited for the next one itself
    earlier: list[Failure] = []

    def is_a(self, error_type: str) -> bool:
        """Whether it is of this type: its qualified name, or the last part of it."""
        return error_type in (self.type, self.type.rpartition(".")[2])

    def __str__(self) -> str:
        where = f" in node {self.node!r}" if self.node else ""
        tries = f" (attempt {self.attempt})" if self.attempt > 1 else ""
        return f"{self.type}{where}{tries}: {self.message}"


def ends_the_process(error: BaseException) -> bool:
    """Whether this is an order to stop (Ctrl-C, Celery's own, a greenlet that is killed) and no failure of users' code.

    Other exceptions outside ``Exception`` are failures: cancellations and time-outs of some libraries, ``sys.exit()``.
    """
    # SIGTERM for a pool process, as service managers send it to a worker's whole group.
    if getattr(sys.modules.get("billiard.common"), "terminate_handler_fired", bool)():
        return True
    if isinstance(error, SystemExit):
        return type(error) is not SystemExit or error.code == TERMINATED
    killed = getattr(sys.modules.get("greenlet"), "GreenletExit", KeyboardInterrupt)
    return isinstance(error, (KeyboardInterrupt, killed))


def failure_of(
    error: BaseException, *, node: str, attempt: int, tries: int = 0, longest: int = MAX_TRACEBACK
) -> Failure:
    """An exception as it is stored: its traceback begins where the engine calls the node, and is cut in the middle where it
    has more than ``longest`` characters."""
    kind = type(error)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    trace = "".join(traceback.format_exception(kind, error, _from_node(error.__traceback__)))
    if len(trace) > longest:
        trace = trace[: longest // 2] + "\n  …\n" + trace[-longest // 2 :]
    try:
        message = str(error)
    except Exception as broken:  # noqa: BLE001 - a user's exception may fail at this too
        message = f"<{type(broken).__name__} in its __str__>"
    return Failure(
        type=_plain(name), message=_plain(message[:MAX_MESSAGE]), node=node, attempt=attempt, tries=tries,
        traceback=_plain(trace),
    )  # fmt: skip


def describe(error: BaseException, *, node: str, attempt: int, tries: int = 0) -> str:
    """The JSON document of an exception."""
    return document_of(failure_of(error, node=node, attempt=attempt, tries=tries))


def document_of(failure: Failure) -> str:
    """The JSON document of a failure."""
    return msgspec.json.encode(failure).decode()


def parse_failure(text: str | None) -> Failure | None:
    """The error that a run's or task's ``error`` document describes."""
    return _failure(text) if text else None


def _from_node(trace: TracebackType | None) -> TracebackType | None:
    """A traceback without the frames that lead to the node; whole where it does not come to one."""
    inner, called = trace, False
    while inner is not None:
        file = inner.tb_frame.f_code.co_filename
        if called and not file.startswith(ENGINE):
            return inner
        called = called or file == CALLER
        inner = inner.tb_next
    return trace


def _plain(text: str) -> str:
    """Text that every store can hold: without NUL and lone surrogates."""
    return text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()


_failure = decoder(Failure)

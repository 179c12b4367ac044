"""The runtime of the node that is being run, for functions that were not handed it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from petiole_stores.errors import ConfigurationError
from petiole_workers.graph.runtime import Runtime

_current: ContextVar[Runtime] = ContextVar("petiole_runtime")


def get_runtime() -> Runtime:
    """The `Runtime` of the node that calls this, however deep within it.

    Raises ConfigurationError outside a node, and in threads that a node starts without its context
    (``contextvars.copy_context().run`` takes it along).
    """
    runtime = _current.get(None)
    if runtime is None:
        raise ConfigurationError(
            "get_runtime() was called outside a node: call it while a node runs, in its thread or task; a thread of your "
            "own needs the node's context (contextvars.copy_context().run)"
        )
    return runtime


def get_stream_writer() -> Callable[[Any], None]:
    """What says something to whoever follows the run in ``stream_mode="custom"``: ``runtime.stream_writer``.

    Raises ConfigurationError outside a node, as `get_runtime`.
    """
    return get_runtime().stream_writer


@contextmanager
def current(runtime: Runtime) -> Iterator[None]:
    """Within the block, `get_runtime` gives this."""
    token = _current.set(runtime)
    try:
        yield
    finally:
        _current.reset(token)

"""Connections that do not wait for good for a server that has gone silent.

TCP's own timers see a dead network; they don't see a proxy or a server that takes bytes and never answers. libpq has no
timeout for that, so the wait for an answer is bounded here.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import psycopg

T = TypeVar("T")

_unhurried: ContextVar[bool] = ContextVar("petiole_unhurried", default=False)


@contextmanager
def unhurried() -> Iterator[None]:
    """Statements of this block may take as long as they take: migrations, backups."""
    token = _unhurried.set(True)
    try:
        yield
    finally:
        _unhurried.reset(token)


class PromptConnection(psycopg.Connection[Any]):
    """A connection that breaks off when the server says nothing for ``answer_timeout`` seconds (``None``: never)."""

    answer_timeout: float | None = None

    def wait(self, gen: Generator[Any, Any, T], *args: Any, **options: Any) -> T:
        """psycopg's wait. Raises OperationalError, the connection closed, when the server is silent for too long."""
        if self.answer_timeout is not None and not _unhurried.get():
            gen = self._heard(gen, self.answer_timeout)
        return super().wait(gen, *args, **options)

    def _heard(self, gen: Generator[Any, Any, T], limit: float) -> Generator[Any, Any, T]:
        """``gen``, ended when its socket was not ready for ``limit`` seconds; psycopg asks it every 0.1 s."""
        ends = time.monotonic() + limit
        try:
            state = next(gen)
            while True:
                ready = yield state
                if ready:
                    ends = time.monotonic() + limit
                elif time.monotonic() >= ends:
                    self.pgconn.finish()  # what the server would answer now belongs to nobody
                    raise psycopg.OperationalError(f"no answer within {limit:g} s (answer_timeout)")
                state = gen.send(ready)
        except StopIteration as end:
            result: T = end.value
            return result

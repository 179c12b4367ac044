"""What a `task` call gives: a result that is there, or still to come."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Generator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class StepFuture(Generic[T]):
    """The result of one step: ``result()`` in functions, ``await`` in coroutines."""

    def __init__(self, future: concurrent.futures.Future[T]) -> None:
        self._future = future

    def result(self, timeout: float | None = None) -> T:
        """What the step returned; waits for it, or raises what it raised.

        In a coroutine ``await`` the step instead: waiting here would hold up the loop that runs it.
        """
        return self._future.result(timeout)

    def done(self) -> bool:
        """Whether the step is over."""
        return self._future.done()

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What the step raised, or ``None``; waits for its end."""
        return self._future.exception(timeout)

    def __await__(self) -> Generator[Any, None, T]:
        return asyncio.wrap_future(self._future).__await__()

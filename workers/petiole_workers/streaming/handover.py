"""Chunks between the threads of a run and the one reader of its stream."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections import deque
from collections.abc import Callable

from petiole_workers.streaming.modes import Chunk


class StreamClosedError(BaseException):
    """Nobody reads the stream any more. No ``Exception``: it has to pass all that handles nodes' errors."""


class Handover:
    """Chunks on their way from the threads of a run to its one reader."""

    def __init__(self) -> None:
        self._chunks: deque[Chunk] = deque()
        self._changed = threading.Condition()
        self._asking = False
        self._over = False
        self._error: BaseException | None = None
        self.closed = False
        self._wake: Callable[[], object] | None = None

    # ---------------------------------------------------------------- the run's side

    def put(self, chunk: Chunk) -> None:
        with self._changed:
            if not self.closed:
                self._chunks.append(chunk)
                self._notify()

    def end(self, error: BaseException | None = None) -> None:
        """The run is over; its reader gets ``error`` after the last chunk."""
        with self._changed:
            self._over, self._error = True, error
            self._notify()

    def wait(self) -> None:
        """Wait until everything was taken and more is asked for. Raises StreamClosedError when the stream was closed."""
        with self._changed:
            self._changed.wait_for(lambda: self.closed or (self._asking and not self._chunks))
        self.check()

    def check(self) -> None:
        if self.closed:
            raise StreamClosedError

    # ---------------------------------------------------------------- the reader's side

    def take(self) -> Chunk | None:
        """The next chunk; ``None`` when the run is over. Raises what the run raised."""
        with self._changed:
            self._ask()
            self._changed.wait_for(lambda: bool(self._chunks) or self._over)
            return self._taken()

    async def atake(self) -> Chunk | None:
        """As `take`, from a coroutine."""
        loop, news = asyncio.get_running_loop(), asyncio.Event()
        while True:
            with self._changed:
                if self._chunks or self._over:
                    return self._taken()
                news.clear()
                self._wake = functools.partial(loop.call_soon_threadsafe, news.set)
                self._ask()
            await news.wait()

    def close(self) -> None:
        with self._changed:
            self.closed = True
            self._changed.notify_all()

    def _ask(self) -> None:
        self._asking = True
        self._changed.notify_all()

    def _taken(self) -> Chunk | None:
        self._asking, self._wake = False, None
        if self._chunks:
            return self._chunks.popleft()
        if self._error is not None:
            raise self._error
        return None

    def _notify(self) -> None:
        self._changed.notify_all()
        if self._wake is not None:
            self._wake()

"""Streams of runs on workers: what a client reads of them while others execute them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING

from petiole.client.handle import check_succeeded, timed_out
from petiole_stores.errors import StoreUnavailableError
from petiole_stores.records import Run
from petiole_workers.streaming import Modes, StreamMode
from petiole_workers.streaming.following import LONGEST_PAUSE, Follower, StreamEvent

if TYPE_CHECKING:
    from petiole.client.reading import Reading

#: For how long a store that does not answer is asked again, in seconds.
PATIENCE = 60.0


class RunStream:
    """One run followed by one client; see :meth:`petiole.Client.stream`.

    Iterate over it, or over it with ``async for``: then no thread is held between two looks at the store.
    """

    def __init__(
        self,
        client: Reading,
        run: Run,
        stream_mode: StreamMode | Sequence[StreamMode] | None,
        *,
        after: str | None,
        subgraphs: bool,
        output_keys: str | Sequence[str] | None,
        timeout: float | None,
    ) -> None:
        modes = Modes.of(stream_mode, subgraphs=subgraphs)
        self._client = client
        self._follower = Follower(client.store, run, modes, after=after, keys=output_keys)
        self._timeout = timeout
        self._until = None if timeout is None else time.monotonic() + timeout
        self._answered = time.monotonic()

    @property
    def run(self) -> Run:
        """The run's record at the last look."""
        return self._follower.run

    @property
    def position(self) -> str:
        """The id of the place up to which all was told; what was read ahead of the last event that was taken counts too."""
        return self._follower.position

    def __iter__(self) -> Iterator[StreamEvent]:
        while True:
            yield from self._look()
            if self._is_over():
                return
            time.sleep(self._pause())

    async def __aiter__(self) -> AsyncIterator[StreamEvent]:
        while True:
            for event in await asyncio.to_thread(self._look):
                yield event
            if self._is_over():
                return
            await asyncio.sleep(self._pause())

    def _look(self) -> list[StreamEvent]:
        try:
            found = self._client.typed(self._follower.look)
        except StoreUnavailableError:
            if time.monotonic() - self._answered > PATIENCE:
                raise
            return []
        self._answered = time.monotonic()
        return found

    def _is_over(self) -> bool:
        """Whether the run has ended, well or interrupted, and all was told. Raises what it failed of."""
        if not self._follower.over:
            return False
        if self.run.status != "interrupted":
            check_succeeded(self.run)
        return True

    def _pause(self) -> float:
        """How long to wait before the next look. Raises RunTimeoutError when the time is over."""
        left = None if self._until is None else self._until - time.monotonic()
        if left is not None and left <= 0:
            raise timed_out(self.run, self._timeout)
        pause = min(self._follower.pause, LONGEST_PAUSE * 5)
        return pause if left is None else min(pause, left)

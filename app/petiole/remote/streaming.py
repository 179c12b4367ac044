"""Following a run over HTTP: server-sent events, taken up again where they broke off."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from petiole.client.handle import check_succeeded, timed_out
from petiole.remote.decoding import Reader, run_of
from petiole.remote.problems import error_of
from petiole.remote.transport import PATIENCE, Transport
from petiole_stores.errors import PetioleError, RateLimitError, StoreUnavailableError
from petiole_stores.records import Run
from petiole_workers.streaming.following import StreamEvent

if TYPE_CHECKING:
    from petiole_workers.streaming import StreamMode

#: How long is waited before a server is asked again, in seconds.
PAUSE = 0.5


class Parts:
    """Lines of server-sent events, put together."""

    def __init__(self) -> None:
        self._fields: dict[str, str] = {}

    def take(self, line: str) -> tuple[str, str, str] | None:
        """Name, data and id of the event that the line ends, if it ends one. What breaks off before its end is none."""
        if line:
            field, _, value = line.partition(": ")
            self._fields[field] = value
            return None
        fields, self._fields = self._fields, {}
        name = fields.get("event")
        return (name, fields.get("data", ""), fields.get("id", "")) if name else None


class RemoteStream:
    """One run followed by one client. Iterate over it, or over it with ``async for``."""

    def __init__(
        self,
        transport: Transport,
        read: Reader,
        run: Run,
        modes: Sequence[StreamMode],
        *,
        after: str | None,
        subgraphs: bool,
        output_keys: str | Sequence[str] | None,
        timeout: float | None,
    ) -> None:
        self._transport, self._read = transport, read
        self._params: dict[str, Any] = {"mode": list(modes), "subgraphs": subgraphs}
        if output_keys is not None:
            one = isinstance(output_keys, str)
            self._params |= {"key": output_keys} if one else {"keys": list(output_keys)}
        self._timeout = timeout
        self._until = None if timeout is None else time.monotonic() + timeout
        #: The run's record: as it was at the beginning, or as it ended.
        self.run = run
        #: The id of the last event that was taken.
        self.position = after or ""
        self._over = False
        self._error: PetioleError | None = None
        self._answered = time.monotonic()

    def __iter__(self) -> Iterator[StreamEvent]:
        while not self._over:
            try:
                with self._transport.stream(*self._place, longest=self._left) as answer:
                    parts = Parts()
                    for line in answer.iter_lines():
                        self._is_answered()
                        yield from self._told(parts.take(line))
                        if self._over:
                            break
            except (StoreUnavailableError, RateLimitError) as error:
                time.sleep(self._pause(error))
            else:
                time.sleep(0 if self._over else self._pause())
        self._check_end()

    async def __aiter__(self) -> AsyncIterator[StreamEvent]:
        while not self._over:
            try:
                async with self._transport.stream_async(*self._place, longest=self._left) as answer:
                    parts = Parts()
                    async for line in answer.aiter_lines():
                        self._is_answered()
                        for event in self._told(parts.take(line)):
                            yield event
                        if self._over:
                            break
            except (StoreUnavailableError, RateLimitError) as error:
                await asyncio.sleep(self._pause(error))
            else:
                await asyncio.sleep(0 if self._over else self._pause())
        self._check_end()

    @property
    def _place(self) -> tuple[str, dict[str, Any]]:
        """What is asked for: all that comes after the last event that was taken."""
        params = self._params | ({"after": self.position} if self.position else {})
        return f"/runs/{self.run.run_id}/events", params

    @property
    def _left(self) -> float | None:
        """How long it may still take, in seconds. Raises RunTimeoutError when the time is over."""
        self._check_time()
        return None if self._until is None else self._until - time.monotonic()

    def _is_answered(self) -> None:
        self._answered = time.monotonic()
        self._check_time()

    def _pause(self, error: StoreUnavailableError | RateLimitError | None = None) -> float:
        """How long to wait before the next connection. Raises what the last one broke off with, where the server has not
        answered for long, and RunTimeoutError."""
        self._check_time()
        if error is not None and time.monotonic() - self._answered > PATIENCE:
            raise error
        pause = max(PAUSE, error.retry_after if isinstance(error, RateLimitError) else 0.0)
        return pause if self._left is None else min(pause, self._left)

    def _check_end(self) -> None:
        """Raise what the stream ended with."""
        if self._error is not None:
            raise self._error
        if self.run.status != "interrupted":
            check_succeeded(self.run)

    def _told(self, found: tuple[str, str, str] | None) -> Iterator[StreamEvent]:
        if found is None:
            return
        name, data, id = found
        document = msgspec.json.decode(data)
        if name == "end":
            self.run, self._over = run_of(document), True
        elif name == "error":  # the server has been patient itself, with its store
            self._error, self._over = error_of(document["status"], data.encode()), True
        else:
            self.position = id
            yield StreamEvent(
                id,
                document["mode"],
                self._read(document["data"]),
                tuple(document["ns"]),
                document.get("node", ""),
                document.get("attempt", 0),
            )

    def _check_time(self) -> None:
        if self._until is not None and time.monotonic() >= self._until:
            raise timed_out(self.run, self._timeout)

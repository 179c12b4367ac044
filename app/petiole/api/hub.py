"""Followers of runs, any number of them on one event loop: one poller for each run and choice of modes feeds all.

A *channel* is a :class:`Follower` that looks for news on behalf of everybody who follows the same run in the same modes. It
keeps its newest events in a ring. Each subscriber goes on from a position of his own: while the ring knows it, he reads
there; where it does not (he came late, or reads too slowly) he catches up with a follower of his own. Positions say all that
was told up to them, so that equal positions have the same future: once his own is one that the ring knows, he reads there
again. Nobody waits for anybody, and no thread is held while nothing happens.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary

from petiole.api.encoding import encode
from petiole.api.values import Values, plain_or_text
from petiole.client import Client
from petiole.client.streaming import PATIENCE
from petiole_stores.errors import StoreUnavailableError
from petiole_stores.records import Run
from petiole_workers.streaming import Modes
from petiole_workers.streaming.cursor import Position
from petiole_workers.streaming.following import LONGEST_PAUSE, Follower, StreamEvent
from petiole_workers.streaming.payloads import OutputKeys

T = TypeVar("T")

#: Events that a channel keeps for its subscribers, and bytes of their plain text.
RING, RING_BYTES = 1000, 8 * 2**20
#: Threads that look into the store for all followers of a process.
LOOKERS = 8


class Frame:
    """One event, with its texts: each is made once, for all who read it."""

    __slots__ = ("_typed", "event", "plain")

    def __init__(self, event: StreamEvent) -> None:
        self.event = event
        self.plain = encode(self._document(plain_or_text(event.data)))
        self._typed: bytes | None = None

    def text(self, values: Values) -> bytes:
        """The event as JSON. Raises SerializationError as `Values.out`."""
        if not values.is_typed:
            return self.plain
        if self._typed is None:
            self._typed = encode(self._document(values.out(self.event.data)))
        return self._typed

    def _document(self, data: Any) -> dict[str, Any]:
        event = self.event
        document: dict[str, Any] = {"mode": event.mode, "ns": list(event.ns), "data": data}
        return document | ({"node": event.node, "attempt": event.attempt} if event.node else {})


class End(NamedTuple):
    """The run rests, and all of it was told."""

    run: Run


class Looker:
    """A follower that is asked from the event loop; a store that does not answer is asked again for a minute."""

    def __init__(
        self,
        client: Client,
        run: Run,
        modes: Modes,
        after: str | None,
        pool: ThreadPoolExecutor,
        keys: OutputKeys = None,
    ) -> None:
        self._client, self._pool = client, pool
        self.follower = Follower(client.store, run, modes, after=after, keys=keys)
        self._answered = time.monotonic()

    async def look(self) -> list[Frame]:
        try:
            found = await _in(self._pool, self._frames)
        except StoreUnavailableError:
            if time.monotonic() - self._answered > PATIENCE:
                raise
            return []
        self._answered = time.monotonic()
        return found

    def _frames(self) -> list[Frame]:
        return [Frame(event) for event in self._client.typed(self.follower.look)]

    @property
    def pause(self) -> float:
        return min(self.follower.pause, LONGEST_PAUSE * 5)


class Channel:
    """One run in one choice of modes, looked at for all its subscribers."""

    def __init__(self, looker: Looker) -> None:
        self._looker = looker
        self._ring: deque[Frame] = deque()
        self._bytes = 0
        self._base = 0  #: how many events have left the ring
        self._places: dict[str, int] = {
            looker.follower.position: 0
        }  #: by position, how many events come before it
        self._idle: str | None = None  #: a position between two events, the newest alone
        self._news = asyncio.Event()
        self.subscribers = 0
        self.end: End | None = None
        self.error: Exception | None = None
        self.task: asyncio.Task[None] | None = None

    def place(self, position: str) -> int | None:
        """How many events come before a position; ``None`` where the ring does not know it."""
        found = self._places.get(position)
        return None if found is None or found < self._base else found

    def at(self, place: int) -> Frame:
        """The event that comes after a place that the ring holds."""
        return self._ring[place - self._base]

    def holds(self, place: int) -> bool:
        return place >= self._base

    @property
    def told(self) -> int:
        return self._base + len(self._ring)

    async def news(self) -> None:
        """Wait for the next event, or the end."""
        await self._news.wait()

    async def run(self) -> None:
        """Look for news until the run rests."""
        try:
            while self.end is None:
                frames = await self._looker.look()
                self._take(frames)
                follower = self._looker.follower
                if follower.over:
                    self.end = End(follower.run)
                if frames or self.end:
                    self._tell()
                if self.end is None:
                    await asyncio.sleep(self._looker.pause)
        except Exception as error:  # noqa: BLE001 - its subscribers raise it
            self.error = error
            self._tell()

    def _take(self, frames: list[Frame]) -> None:
        for frame in frames:
            self._ring.append(frame)
            self._bytes += len(frame.plain)
            self._places[frame.event.id] = self.told
        position = self._looker.follower.position
        if self._idle not in (None, position):
            self._places.pop(self._idle, None)
            self._idle = None
        if position not in self._places:
            self._places[position], self._idle = self.told, position
        while len(self._ring) > RING or self._bytes > RING_BYTES:
            self._bytes -= len(self._ring.popleft().plain)
            self._base += 1
        if len(self._places) > 2 * RING:
            self._places = {name: place for name, place in self._places.items() if place >= self._base}

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


class Hub:
    """The channels of one process."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(LOOKERS, "petiole-follow")
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Any, Channel]] = WeakKeyDictionary()

    def close(self) -> None:
        """Wait for the looks that are under way and begin no more: the store may be closed after it."""
        self._pool.shutdown(cancel_futures=True)

    @property
    def channels(self) -> list[Channel]:
        return [channel for channels in self._loops.values() for channel in channels.values()]

    async def follow(
        self, client: Client, run: Run, modes: Modes, after: str | None, keys: OutputKeys = None
    ) -> AsyncIterator[Frame | End]:
        """The run's events after a position, then its end; ``keys`` of the state alone. Raises InputError for a position of another run at once, and
        what looking raises."""
        position = after or Position(run.run_id).token
        looker = await _in(self._pool, partial(Looker, client, run, modes, after, self._pool, keys))
        shown = keys if keys is None or isinstance(keys, str) else tuple(keys)
        channel = self._join((client.store, run.run_id, modes.asked, modes.subgraphs, shown), looker)
        own: Looker | None = None
        try:
            while True:
                place = channel.place(position)
                if place is None:
                    if own is None:
                        own = await _in(
                            self._pool, partial(Looker, client, run, modes, position, self._pool, keys)
                        )
                    frames = await own.look()
                    for frame in frames:
                        yield frame
                    position = own.follower.position
                    if own.follower.over:
                        yield End(own.follower.run)
                        return
                    if not frames and channel.place(position) is None:
                        await asyncio.sleep(own.pause)
                    continue
                own = None
                while channel.holds(place):
                    if place < channel.told:
                        frame = channel.at(place)
                        place, position = place + 1, frame.event.id
                        yield frame
                    elif channel.error is not None:
                        raise channel.error
                    elif channel.end is not None:
                        yield channel.end
                        return
                    else:
                        await channel.news()
        finally:
            self._leave(channel)

    def _join(self, key: Any, looker: Looker) -> Channel:
        channels = self._loops.setdefault(asyncio.get_running_loop(), {})
        channel = channels.get(key)
        if channel is None or channel.end is not None or channel.error is not None:
            channel = channels[key] = Channel(looker)
            channel.task = asyncio.get_running_loop().create_task(channel.run())
        channel.subscribers += 1
        return channel

    def _leave(self, channel: Channel) -> None:
        channel.subscribers -= 1
        if channel.subscribers:
            return
        if channel.task is not None:
            channel.task.cancel()
        for channels in self._loops.values():
            for key, one in [*channels.items()]:
                if one is channel:
                    del channels[key]


async def _in(pool: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    return await asyncio.get_running_loop().run_in_executor(pool, work)

"""A TCP proxy that can fail in every way a network does: one between each worker, or client, and its store or broker.

All proxies share one event loop in a thread of its own. Their methods may be called from any thread.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import random
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, Literal

HOST = "127.0.0.1"
#: ``up``: from the client to the server.
Direction = Literal["up", "down"]
#: ``pass``; ``stall``: bytes wait, as behind a broken route that TCP sends over again; ``swallow``: bytes are gone.
Mode = Literal["pass", "stall", "swallow"]
BOTH: tuple[Direction, ...] = ("up", "down")


class ProxyLoop:
    """The event loop of all proxies."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, name="proxies", daemon=True)
        self._thread.start()

    def run(self, work: Callable[[], Any]) -> Any:
        """Call a function (or coroutine function) in the loop and give what it gives."""

        async def call() -> Any:
            found = work()
            return await found if asyncio.iscoroutine(found) else found

        try:
            return asyncio.run_coroutine_threadsafe(call(), self.loop).result(10)
        except concurrent.futures.TimeoutError:
            raise TimeoutError("the proxies' loop does not answer") from None

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)
        self.loop.close()


class Proxy:
    """Listens on a free port of 127.0.0.1 and forwards to ``target``."""

    def __init__(self, loop: ProxyLoop, name: str, target: tuple[str, int]) -> None:
        self._loop, self.name, self.target = loop, name, target
        self._pairs: set[Pair] = set()
        self._server: asyncio.Server | None = None
        self.port = 0
        self.modes: dict[Direction, Mode] = {"up": "pass", "down": "pass"}
        self.delay = 0.0  #: seconds that every chunk is late
        self.doubt = 0.0  #: probability that an answer is cut off after its request has passed
        self.cuts = 0  #: answers cut off so far
        self.random = random.Random(name)
        loop.run(self._listen)

    # ---------------------------------------------------------------- faults

    def cut(self) -> int:
        """Reset every connection; gives how many there were."""
        return int(self._loop.run(lambda: self._abort([*self._pairs])))

    def refuse(self) -> None:
        """Take no new connection and reset those that there are, until :meth:`heal`."""

        def close() -> None:
            if self._server is not None:
                self._server.close()
                self._server = None
            self._abort([*self._pairs])

        self._loop.run(close)

    def hold(self, mode: Mode, directions: Iterable[Direction] = BOTH) -> None:
        """Stall or swallow what goes in these directions, until :meth:`heal`. New connections are accepted."""
        chosen = [*directions]
        self._loop.run(lambda: self.modes.update(dict.fromkeys(chosen, mode)))

    def slow(self, seconds: float) -> None:
        """Make every chunk late."""
        self._loop.run(lambda: setattr(self, "delay", seconds))

    def put_in_doubt(self, probability: float) -> None:
        """From now on some requests reach the server, and the connection is cut before the answer passes."""
        self._loop.run(lambda: setattr(self, "doubt", probability))

    def heal(self, *, forget: bool = False) -> None:
        """Everything works again. Stalled bytes go on; connections that lost bytes are reset.

        ``forget``: those stay open and silent for good instead, as behind a firewall that has lost their state.
        """

        async def mend() -> None:
            self.modes.update({"up": "pass", "down": "pass"})
            self.delay = self.doubt = 0.0
            for pair in [*self._pairs]:
                pair.heal(forget=forget)
            await self._listen()

        self._loop.run(mend)

    def close(self) -> None:
        self.refuse()

    # ---------------------------------------------------------------- inside the loop

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await self._loop.loop.create_server(
                lambda: End(Pair(self), "up"), HOST, self.port, reuse_address=True
            )
            self.port = self._server.sockets[0].getsockname()[1]

    def add(self, pair: Pair) -> None:
        self._pairs.add(pair)

    def remove(self, pair: Pair) -> None:
        self._pairs.discard(pair)

    def _abort(self, pairs: list[Pair]) -> int:
        for pair in pairs:
            pair.abort()
        return len(pairs)


class Pair:
    """A client's connection and the one to the server that belongs to it."""

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        self.ends: dict[Direction, End] = {}
        self._pending: dict[Direction, deque[bytes]] = {"up": deque(), "down": deque()}
        self._late: dict[Direction, int] = {"up": 0, "down": 0}
        self._mutilated: set[Direction] = set()  # bytes are gone
        self._silent = False  # for good
        self._orphaned = False  # one end is gone, and the other must not know yet
        self._doubtful = False

    def opened(self, end: End) -> None:
        """The client is here: connect to the server."""
        self.ends["up"] = end
        self.proxy.add(self)
        if "swallow" in self.proxy.modes.values():
            self._mutilated.update(BOTH)
        else:
            self._connecting = asyncio.ensure_future(self._connect())

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, end = await loop.create_connection(lambda: End(self, "down"), *self.proxy.target)
        except OSError:
            self.abort()
            return
        if self.ends["up"].transport.is_closing():
            end.transport.abort()
            return
        self.ends["down"] = end
        self._flush("up")

    def carry(self, direction: Direction, data: bytes) -> None:
        """Bytes have come: pass them on, or do what the proxy is told to."""
        proxy, mode = self.proxy, self.proxy.modes[direction]
        if self._silent or mode == "swallow" or direction in self._mutilated:
            self._mutilated.add(direction)
            return
        if direction == "up" and proxy.doubt and proxy.random.random() < proxy.doubt:
            self._doubtful = True
        elif direction == "down" and self._doubtful:
            proxy.cuts += 1
            self.abort()
            return
        self._pending[direction].append(data)
        if mode == "stall":
            return
        if proxy.delay:
            self._late[direction] += 1
            asyncio.get_running_loop().call_later(proxy.delay, self._arrived, direction)
        elif not self._late[direction]:
            self._flush(direction)

    def _arrived(self, direction: Direction) -> None:
        self._late[direction] -= 1
        if self.proxy.modes[direction] == "pass" and direction not in self._mutilated:
            self._flush(direction)

    def _flush(self, direction: Direction) -> None:
        target = self.ends.get("down" if direction == "up" else "up")
        if target is not None and not target.transport.is_closing():
            while self._pending[direction]:
                target.transport.write(self._pending[direction].popleft())

    def lost(self, direction: Direction) -> None:
        """An end has closed: so does the other one, unless the news cannot pass."""
        if self.proxy.modes[direction] != "pass" or self._silent:
            self._orphaned = True
            if self._silent or self._mutilated:
                self._close(direction)
            return
        self._close(direction)

    def _close(self, direction: Direction) -> None:
        self._flush(direction)
        self.proxy.remove(self)
        for end in self.ends.values():
            end.transport.close()

    def heal(self, *, forget: bool) -> None:
        if self._mutilated and forget and not self._orphaned:
            self._silent = True
        elif self._mutilated or self._orphaned:
            if not self._silent:
                self.abort()
        else:
            self._doubtful = False
            for direction in BOTH:
                self._flush(direction)

    def abort(self) -> None:
        """Reset both ends."""
        self.proxy.remove(self)
        for end in self.ends.values():
            end.reset()


class End(asyncio.Protocol):
    """One socket of a pair; ``direction`` is where its bytes go."""

    transport: asyncio.Transport

    def __init__(self, pair: Pair, direction: Direction) -> None:
        self._pair, self._direction = pair, direction

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._direction == "up":
            self._pair.opened(self)

    def data_received(self, data: bytes) -> None:
        self._pair.carry(self._direction, data)

    def connection_lost(self, error: Exception | None) -> None:
        self._pair.lost(self._direction)

    def reset(self) -> None:
        """Close with RST, so that the other side knows at once."""
        connection = self.transport.get_extra_info("socket")
        if connection is not None and not self.transport.is_closing():
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

"""How much one server takes: requests a second and how long the slow ones take, and a thousand followers of runs at once.

The other side is asyncio with sockets, for a client library would take more of the machine than the server. Every request has an
API key.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from petiole import Client, Settings
from petiole.access.keys import Keys
from petiole_workers.settings import environment
from tests.processes import Leashed
from tests.waiting import wait_until

#: Connections that ask one thing after another, and for how long, in seconds.
CONNECTIONS, SECONDS = 16, 5.0
FOLLOWERS = 1000
#: Runs that are there to be listed.
RUNS = 1000
#: How long followers may wait for what they follow, in seconds.
PATIENCE = 60.0


def measure(url: str) -> dict[str, float]:
    """Figures by name, of a server on this store."""
    _raise_files()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(store=url, broker="memory://", data_dir=folder)
        with Client(settings=settings) as client:
            token = Keys(client.store).create("bench", ["admin"])[1]
            ids = [client.submit("bench", {"n": 1}).run_id for _ in range(RUNS)]
            with served(settings, Path(folder)) as (port, pid):
                load = Load(port, token)
                found: dict[str, float] = {}
                for name, ask in load.requests(ids[0]).items():
                    found |= {f"{name} {what}": value for what, value in asyncio.run(load.press(ask)).items()}
                for name, followed in (("one run", ids[:1]), ("100 runs", ids[:100])):
                    taken = asyncio.run(load.follow(client, followed))
                    found |= {f"{FOLLOWERS:,} followers of {name}, {what}": it for what, it in taken.items()}
                found["server's memory (MB)"] = _memory(pid)
                return found


@contextmanager
def served(settings: Settings, folder: Path) -> Iterator[tuple[int, int]]:
    """Port and process id of ``petiole serve``."""
    base = {key: text for key, text in os.environ.items() if not key.startswith("PETIOLE_")}
    log = folder / "serve.log"
    process = Leashed(
        [sys.executable, "-m", "petiole", "serve", "--port", "0"], log=log, env=environment(settings, base)
    )
    try:
        found = wait_until(
            lambda: re.search(r"serving (http://\S+) ", process.tail()), 60, lambda: process.tail()
        )
        assert found is not None
        port = urlsplit(found[1]).port
        assert port is not None
        yield port, process.pid
    finally:
        process.stop()


class Load:
    """Connections to one server on this machine."""

    def __init__(self, port: int, token: str) -> None:
        self._port, self._token = port, token

    def requests(self, run_id: str) -> dict[str, Callable[[int], bytes]]:
        """What is asked, by name: from the number of a request to its text."""
        body = json.dumps({"graph": "bench", "input": {"n": 1}}).encode()
        return {
            "health": lambda _: self._request("GET", "/livez"),
            "one run": lambda _: self._request("GET", f"/api/v1/runs/{run_id}"),
            "page of 50 runs": lambda _: self._request("GET", "/api/v1/runs?limit=50"),
            "submit": lambda _: self._request("POST", "/api/v1/runs", body),
        }

    async def press(self, ask: Callable[[int], bytes]) -> dict[str, float]:
        """Ask as fast as it goes."""
        took: list[float] = []
        began = time.monotonic()

        async def one(_: int) -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            try:
                while time.monotonic() - began < SECONDS:
                    asked = time.monotonic()
                    writer.write(ask(len(took)))
                    await _answer(reader)
                    took.append(time.monotonic() - asked)
            finally:
                writer.close()

        await asyncio.gather(*map(one, range(CONNECTIONS)))
        hundredths = statistics.quantiles(took, n=100)
        return {
            "(1/s)": len(took) / (time.monotonic() - began),
            "p50 (ms)": hundredths[49] * 1000,
            "p99 (ms)": hundredths[98] * 1000,
        }

    async def follow(self, client: Client, run_ids: list[str]) -> dict[str, float]:
        """Let all followers wait for the ends of runs; then cancel these, and see when the last follower knows."""
        began = time.monotonic()
        streams = [
            await asyncio.open_connection("127.0.0.1", self._port, limit=2**20) for _ in range(FOLLOWERS)
        ]
        try:
            for number, (_, writer) in enumerate(streams):
                writer.write(self._request("GET", f"/api/v1/runs/{run_ids[number % len(run_ids)]}/events"))
            await _all(_head(reader) for reader, _ in streams)
            connected = time.monotonic()
            await asyncio.to_thread(lambda: [*client.cancel_all(map(client.get_run, run_ids))])
            cancelled = time.monotonic()
            await _all(reader.readuntil(b"event: end") for reader, _ in streams)
            return {
                "until all are connected (s)": connected - began,
                "until all know the end (s)": time.monotonic() - cancelled,
            }
        finally:
            for _, writer in streams:
                writer.close()

    def _request(self, method: str, path: str, body: bytes = b"") -> bytes:
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\nAuthorization: Bearer {self._token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


async def _all(waits: Iterator[Awaitable[object]]) -> None:
    await asyncio.wait_for(asyncio.gather(*waits), PATIENCE)


async def _head(reader: asyncio.StreamReader) -> bytes:
    """An answer's status and headers. Raises RuntimeError for one that is not a success."""
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 2"):
        raise RuntimeError(f"the server answered {head.splitlines()[0].decode()}")
    return head.lower()


async def _answer(reader: asyncio.StreamReader) -> None:
    head = await _head(reader)
    found = re.search(rb"content-length: (\d+)", head)
    if found is None:
        raise RuntimeError(f"an answer without a length: {head!r}")
    await reader.readexactly(int(found[1]))


def _raise_files() -> None:
    """Let this process have as many files open as it may: each follower is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _memory(pid: int) -> float:
    """What a process takes, in megabytes."""
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found[1]) / 1024 if found else float("nan")

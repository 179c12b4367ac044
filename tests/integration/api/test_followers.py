"""A thousand followers of one process: each is told everything, and those who read slowly hurt nobody."""

from __future__ import annotations

import asyncio
import resource
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from petiole import END, START, Client, CompiledGraph, StateGraph
from petiole.api.app import create_app
from petiole.testing import LocalWorker
from petiole_stores.opening import open_store
from tests.unit.api.listening import listening
from tests.unit.driving import Count

pytestmark = pytest.mark.slow

FOLLOWERS = 1000
#: Of those, how many read nothing until all others have been told the end.
SLOW = 20
#: Runs that are followed, and supersteps of each.
RUNS, STEPS = 4, 6
#: Each follower is one file here, and one in the server.
FILES = 2 * FOLLOWERS + 200


@pytest.fixture(autouse=True)
def files() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < FILES:
        pytest.skip(f"{FILES} open files are needed, and {hard} are allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, FILES), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def chain() -> CompiledGraph:
    graph = StateGraph(Count)
    graph.add_node("add", lambda count: {"n": count["n"] + 1})
    graph.add_edge(START, "add")
    graph.add_conditional_edges("add", lambda count: "add" if count["n"] < STEPS else END, ["add", END])
    return graph.compile(name="chain")


class Follower:
    """One connection that follows one run, without a client library between."""

    def __init__(self, thread: str) -> None:
        self.thread, self.ids = thread, list[str]()
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter

    async def connect(self, port: int) -> None:
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", port, limit=2**20)
        path = f"/api/v1/runs/{self.thread}/events?mode=values&mode=updates"
        self._writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        head = await self._reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), head

    async def read(self) -> None:
        """Take the ids of all events, up to the end."""
        while line := await self._reader.readline():
            if line.startswith(b"id: "):
                self.ids.append(line[4:].strip().decode())
            elif line.startswith(b"event: end"):
                break
            assert not line.startswith(b"event: error"), await self._reader.readline()
        self._writer.close()


@pytest.mark.timeout(240)
def test_a_thousand_followers_are_told_everything(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/store.db")
    with LocalWorker([chain()], store) as worker, Client(store, broker="memory://") as client:
        threads = [f"t{number}" for number in range(RUNS)]
        for thread in threads:
            worker.client.submit("chain", {"n": 0}, thread_id=thread)
        with listening(create_app(client)) as url:
            port = urlsplit(url).port
            assert port is not None
            followers = [Follower(threads[number % RUNS]) for number in range(FOLLOWERS)]

            async def follow() -> None:
                for begin in range(0, FOLLOWERS, 100):
                    await asyncio.gather(*(one.connect(port) for one in followers[begin : begin + 100]))
                working = asyncio.create_task(asyncio.to_thread(worker.run_until_idle))
                await asyncio.gather(*(one.read() for one in followers[SLOW:]))
                assert all(one.ids == [] for one in followers[:SLOW])
                await asyncio.gather(*(one.read() for one in followers[:SLOW]))
                await working

            asyncio.run(asyncio.wait_for(follow(), 200))
            assert threading.active_count() < 100  # a follower holds none
        for thread in threads:
            expected = [event.id for event in worker.client.stream(thread, None, ["values", "updates"])]
            assert len(expected) >= 2 * STEPS
            told = [one.ids for one in followers if one.thread == thread]
            assert len(told) == FOLLOWERS // RUNS
            assert all(ids == expected for ids in told)
    store.close()

"""A server that is killed and started again while it is followed: nothing is missing, nothing comes twice."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from petiole import END, START, Client, CompiledGraph, Settings, StateGraph
from petiole.testing import LocalWorker
from petiole_workers.settings import environment
from petiole_workers.streaming.following import StreamEvent
from tests.processes import Leashed, free_port
from tests.unit.driving import Count
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
PATH = os.pathsep.join(str(ROOT / part) for part in ("app", "workers", "stores"))
#: Supersteps of the run that is followed.
STEPS = 12


def chain() -> CompiledGraph:
    """One node that runs again and again."""
    graph = StateGraph(Count)
    graph.add_node("add", lambda count: {"n": count["n"] + 1})
    graph.add_edge(START, "add")
    graph.add_conditional_edges("add", lambda count: "add" if count["n"] < STEPS else END, ["add", END])
    return graph.compile(name="chain")


class Server:
    """``petiole serve`` on a port of its own, killed and started at will."""

    def __init__(self, folder: Path) -> None:
        self.settings = Settings(
            data_dir=str(folder), store=f"sqlite:///{folder}/store.db", broker="memory://"
        )
        self._log, self._port = folder / "log", free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self.process: Leashed | None = None

    def start(self) -> None:
        base = {key: text for key, text in os.environ.items() if not key.startswith("PETIOLE_")}
        env = environment(self.settings, base) | {"PYTHONPATH": PATH, "PYTHONUNBUFFERED": "1"}
        self._log.unlink(missing_ok=True)
        command = [sys.executable, "-m", "petiole", "serve", "--port", str(self._port), "--no-auth"]
        process = self.process = Leashed(command, log=self._log, env=env)
        wait_until(lambda: re.search(r"serving http", process.tail()), 60, process.tail)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process = None


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    made.start()
    yield made
    made.kill()


class Followed:
    """Somebody who follows in a thread; what he got, and what he ended with."""

    def __init__(self, follow: Callable[[list[Any]], Any]) -> None:
        self.got: list[Any] = []
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, args=(follow,), daemon=True)
        self.thread.start()

    def _run(self, follow: Callable[[list[Any]], Any]) -> None:
        try:
            follow(self.got)
        except BaseException as error:  # noqa: BLE001 - the test raises it
            self.error = error

    def end(self) -> list[Any]:
        self.thread.join(60)
        assert not self.thread.is_alive()
        assert self.error is None, self.error
        return self.got


def work(worker: LocalWorker) -> None:
    """Run one task, if there is one: the messages of a server in another process are found by sweeps."""
    if not worker.step() and worker.sweep():
        worker.step()


@pytest.mark.timeout(240)
def test_streams_and_waits_go_on_over_restarts(server: Server) -> None:
    with LocalWorker([chain()], server.settings.store, time.time) as worker, Client(server.url) as client:
        handle = client.submit("chain", {"n": 0}, thread_id="t")

        async def all_of(got: list[StreamEvent]) -> None:
            async for event in client.aio.stream("t", stream_mode=["values", "updates"], timeout=120):
                got.append(event)  # noqa: PERF401 - the list is looked at meanwhile

        async def waited(got: list[Any]) -> None:
            got.append(await (await client.aio.handle("t")).result(timeout=120))

        streams = [
            Followed(lambda got: [got.append(one) for one in handle.stream(["values", "updates"])]),
            Followed(lambda got: asyncio.run(all_of(got))),
        ]
        waits = [
            Followed(lambda got: got.append(handle.result(timeout=120))),
            Followed(lambda got: asyncio.run(waited(got))),
        ]

        def told_of() -> str:
            return str([(len(one.got), one.error) for one in streams])

        worked = 0
        for _ in range(2):
            for _ in range(3):  # each task is told of before the next one runs
                work(worker)
                worked += 1
                wait_until(lambda: min(len(one.got) for one in streams) >= worked, 60, told_of)  # noqa: B023
            server.kill()
            work(worker)  # what happens while nobody serves is told, too
            worked += 1
            server.start()
        worker.run_until_idle()
        expected = [*worker.client.stream("t", None, ["values", "updates"])]
        assert len(expected) > 2 * STEPS
        for stream in streams:
            assert [(one.id, one.data) for one in stream.end()] == [(one.id, one.data) for one in expected]
        for wait in waits:
            assert wait.end() == [{"n": STEPS, "trail": []}]


def test_many_streams_in_async_code_leave_room_for_other_calls(server: Server) -> None:
    """They hold no threads: there are fewer of those than there are streams here."""
    streams = 12
    with LocalWorker([chain()], server.settings.store, time.time) as worker, Client(server.url) as client:
        handles = [
            client.submit("chain", {"n": STEPS - 2}, thread_id=f"t{number}") for number in range(streams)
        ]

        async def play() -> list[int]:
            async def follow(thread: str) -> int:
                return len([one async for one in client.aio.stream(thread, timeout=60)])

            following = [asyncio.create_task(follow(one.thread_id)) for one in handles]
            await asyncio.sleep(0)
            assert await asyncio.wait_for(client.aio.count_runs(), 30)
            await asyncio.to_thread(worker.run_until_idle)
            return await asyncio.gather(*following)

        assert asyncio.run(play()) == [2] * streams

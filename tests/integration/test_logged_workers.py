"""What nodes log in workers' own processes, of every pool, also in one that is killed in the middle."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from petiole import RunHandle
from petiole.client import LogEntry
from tests.integration.test_streamed_workers import Place
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

FLOW = """
import asyncio, logging, pathlib, time
from typing import TypedDict
from celery.utils.log import get_task_logger
from petiole import START, StateGraph, get_stream_writer

logger = logging.getLogger("shop.bank")

class State(TypedDict, total=False):
    n: int

def work(state, runtime):
    logger.info("attempt %d", runtime.attempt)
    logger.debug("nobody wants this")
    get_task_logger("shop").info("as a task")
    while not pathlib.Path("open").exists():
        time.sleep(0.02)
    return {"n": 1}

async def side(state, number):
    for turn in range(3):
        logger.info("%s %d", number, turn)
        await asyncio.sleep(0.001)
    await asyncio.to_thread(logger.info, "%s in a thread", number)
    get_stream_writer()("said")
    return {}

async def left(state):
    return await side(state, "left")

async def right(state):
    return await side(state, "right")

graph = (
    StateGraph(State).add_node("work", work).add_node("left", left).add_node("right", right)
    .add_edge(START, "work").add_edge("work", "left").add_edge("work", "right").compile(name="talking")
)
"""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    (tmp_path / "talking_flow.py").write_text(FLOW)
    yield made
    made.close()


def logs(place: Place, handle: RunHandle) -> list[LogEntry]:
    return [*place.client.logs(handle.run_id)]


def first_record(place: Place, handle: RunHandle) -> LogEntry:
    return wait_until(lambda: next(iter(logs(place, handle)), None), 60, "the first record")


@pytest.mark.parametrize("pool", ["prefork", "threads", "gevent", "solo"])
def test_it_is_kept_while_the_node_runs_in_every_pool(place: Place, pool: str) -> None:
    if pool == "gevent":
        pytest.importorskip("gevent")
    worker = place.start("--pool", pool, "--concurrency", "2", "--log-level", "WARNING")
    handle = place.client.submit("talking", {"n": 0})

    first = first_record(place, handle)
    assert (first.node, first.attempt, first.level, first.message) == ("work", 1, "INFO", "attempt 1")
    assert handle.status() == "running", "the node is still at work"
    (place.folder / "open").touch()
    assert handle.result(60) == {"n": 1}
    by_node: dict[str, list[str]] = {}
    for entry in logs(place, handle):
        by_node.setdefault(entry.node, []).append(entry.message)
    assert by_node == {
        "work": ["attempt 1", "as a task"],
        "left": ["left 0", "left 1", "left 2", "left in a thread"],
        "right": ["right 0", "right 1", "right 2", "right in a thread"],
    }
    assert [event.data for event in handle.stream("custom")] == ["said", "said"]
    assert "attempt 1" not in worker.tail(100_000), "the worker's own log is as loud as it was"


def test_what_a_killed_node_has_logged_stays(place: Place) -> None:
    first = place.start("--pool", "solo", "--node-logs", "DEBUG")
    handle = place.client.submit("talking", {"n": 0})
    wait_until(lambda: len(logs(place, handle)) == 3, 60, "the records")
    first.kill()
    place.start("--pool", "solo")
    wait_until(lambda: len(logs(place, handle)) == 5, 60, "those of the next attempt")
    (place.folder / "open").touch()
    assert handle.result(60) == {"n": 1}
    found = [(one.attempt, one.message) for one in place.client.logs(handle.run_id, node="work")]
    assert found == [
        (1, "attempt 1"),
        (1, "nobody wants this"),
        (1, "as a task"),
        (2, "attempt 2"),
        (2, "as a task"),
    ]

"""A client follows a run that processes of their own execute: live, through a killed worker, from another process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from petiole import Client, Settings
from petiole_workers.settings import environment
from tests.processes import Leashed
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PATH = os.pathsep.join(str(ROOT / part) for part in ("app", "workers", "stores"))

FLOW = """
import pathlib, time
from typing import TypedDict
from petiole import START, StateGraph, get_stream_writer

class State(TypedDict, total=False):
    n: int

def work(state, runtime):
    runtime.stream_writer({"attempt": runtime.attempt})
    while not pathlib.Path("open").exists():
        time.sleep(0.02)
    return {"n": 1}

async def more(state):
    get_stream_writer()("nearly")
    return {"n": 2}

graph = (
    StateGraph(State).add_node("work", work).add_node("more", more)
    .add_edge(START, "work").add_edge("work", "more").compile(name="talking")
)
"""


class Place:
    """A folder with a graph, a store and a broker of its own, and workers started there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "talking_flow.py").write_text(FLOW)
        self.settings = Settings(
            data_dir=str(folder / "data"), graphs=["talking_flow:graph"], concurrency=1, lease=3.0, sweep=0.5
        )
        self.client = Client(settings=self.settings)
        self.workers: list[Leashed] = []

    def environment(self) -> dict[str, str]:
        base = {key: text for key, text in os.environ.items() if not key.startswith("PETIOLE_")}
        return environment(self.settings, base) | {"PYTHONPATH": PATH, "PYTHONUNBUFFERED": "1"}

    def start(self, *options: str) -> Leashed:
        command = [sys.executable, "-m", "petiole", "worker", *options]
        log = self.folder / f"log-{len(self.workers)}"
        self.workers.append(Leashed(command, log=log, env=self.environment(), cwd=self.folder))
        return self.workers[-1]

    def close(self) -> None:
        (self.folder / "open").touch()
        for worker in self.workers:
            worker.kill()
        self.client.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_run_is_followed_live_and_from_the_command_line(place: Place, pool: str) -> None:
    place.start("--pool", pool)
    handle = place.client.submit("talking", {"n": 0})
    told = iter(handle.stream(["custom", "updates"], timeout=60))

    first = next(told)
    assert (first.data, first.node, first.attempt) == ({"attempt": 1}, "work", 1)
    assert handle.status() == "running", "the node is still at work"
    (place.folder / "open").touch()
    assert [event.data for event in told] == [{"work": {"n": 1}}, "nearly", {"more": {"n": 2}}]

    command = [sys.executable, "-m", "petiole", "run", "stream", handle.thread_id, "--json"]
    said = subprocess.run(
        [*command, "--mode", "custom", "--mode", "updates", "--after", first.id],
        env=place.environment(),
        cwd=place.folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    lines = [json.loads(line) for line in said.stdout.splitlines()]
    assert [line["data"] for line in lines] == [{"work": {"n": 1}}, "nearly", {"more": {"n": 2}}]


def test_a_killed_workers_words_stay_and_the_next_attempt_says_its_own(place: Place) -> None:
    first = place.start("--pool", "solo")
    handle = place.client.submit("talking", {"n": 0})
    told = iter(handle.stream(["custom", "updates"], timeout=90))
    before = next(told)
    assert before.attempt == 1

    first.kill()
    place.start("--pool", "solo")
    again = next(told)
    assert (again.data, again.attempt) == ({"attempt": 2}, 2)
    (place.folder / "open").touch()
    rest = [event.data for event in told]
    assert rest == [{"work": {"n": 1}}, "nearly", {"more": {"n": 2}}]
    wait_until(lambda: handle.status() == "succeeded", 20, "the end of the run")
    assert [event.data for event in handle.stream(["custom", "updates"], after=before.id)] == [
        again.data,
        *rest,
    ]

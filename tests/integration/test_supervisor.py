"""``petiole worker`` with real processes, on the embedded store and broker: deaths, stops, restarts, refusals."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from petiole import Client, Settings
from petiole_stores.records import Task, Worker
from petiole_workers.launch import EXIT_CONFIGURATION
from petiole_workers.settings import environment
from tests.processes import Leashed, alive
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc"),
]

ROOT = Path(__file__).parents[2]
PATH = os.pathsep.join(str(ROOT / part) for part in ("app", "workers", "stores"))

FLOW = """
import pathlib, time
from typing import TypedDict
from petiole import END, START, StateGraph

class State(TypedDict, total=False):
    n: int

def gate(state):
    pathlib.Path("at-the-gate").touch()
    while not pathlib.Path("open").exists():
        time.sleep(0.02)
    return {"n": state["n"] + ONE}

ONE = 1
graph = (
    StateGraph(State).add_node("gate", gate).add_edge(START, "gate").add_edge("gate", END).compile(name="gated")
)
"""


class Place:
    """A folder with a graph, a store and a broker of its own, and the commands run there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "gated_flow.py").write_text(FLOW)
        self.settings = Settings(
            data_dir=str(folder / "data"), graphs=["gated_flow:graph"], concurrency=1, grace=1.0
        )
        self.client = Client(settings=self.settings)
        self.processes: list[Leashed] = []

    def environment(self) -> dict[str, str]:
        base = {key: text for key, text in os.environ.items() if not key.startswith("PETIOLE_")}
        return environment(self.settings, base) | {"PYTHONPATH": PATH, "PYTHONUNBUFFERED": "1"}

    def run(self, *command: str, **env: str) -> Leashed:
        log = self.folder / f"log-{len(self.processes)}"
        process = Leashed(
            [sys.executable, "-m", *command], log=log, env=self.environment() | env, cwd=self.folder
        )
        self.processes.append(process)
        return process

    def worker(self, *options: str) -> Leashed:
        return self.run("petiole", "worker", "--name", "w", *options)

    def registered(self, process: Leashed, but: Worker | None = None) -> Worker:
        """The living worker, once there is one (another than ``but``)."""

        def look() -> Worker | None:
            assert process.running(), process.tail()
            found = [
                w
                for w in self.client.workers()
                if w.status == "alive" and (but is None or w.worker_id != but.worker_id)
            ]
            return found[0] if found else None

        found = wait_until(look, 30, lambda: f"a worker; the log ends:\n{process.tail()}")
        assert found is not None
        return found

    def at_the_gate(self) -> str:
        """Submit a run and wait until its node is at work; gives the thread's id."""
        handle = self.client.submit("gated", {"n": 1})
        wait_until(
            (self.folder / "at-the-gate").exists,
            20,
            lambda: f"the node: {[p.tail() for p in self.processes]}",
        )
        return handle.thread_id

    def open_gate(self) -> None:
        (self.folder / "open").touch()

    def gate_task(self, thread: str) -> Task:
        return next(task for task in self.client.tasks(thread) if task.node == "gate")

    def status_of(self, worker: Worker) -> str:
        return next(w.status for w in self.client.workers() if w.worker_id == worker.worker_id)

    def close(self) -> None:
        self.open_gate()
        for process in self.processes:
            process.kill()
        self.client.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    yield made
    made.close()


def children(pid: int) -> list[int]:
    """The processes that ``pid`` has started, and theirs."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *children(child)]
    return found


def said(process: Leashed, words: str) -> Callable[[], bool]:
    return lambda: words in process.tail(20_000)


def test_a_worker_that_is_killed_is_said_why_and_its_task_goes_on_at_once(place: Place) -> None:
    process = place.worker()
    first = place.registered(process)
    thread = place.at_the_gate()
    killed = time.monotonic()
    os.kill(first.pid, signal.SIGKILL)
    second = place.registered(process, but=first)
    place.open_gate()
    assert place.client.handle(thread).result(20) == {"n": 2}
    assert time.monotonic() - killed < first.lease, "nobody should have waited for the lease"
    assert said(process, "worker w was killed by SIGKILL")()
    assert said(process, "started again in 1 s")()
    task = place.gate_task(thread)
    assert (task.holder, task.attempt, task.crashes) == (second.worker_id, 2, 1)
    assert [attempt.outcome for attempt in task.attempts] == ["crashed"]
    assert place.status_of(first) == "dead"


def test_a_warm_stop_lets_a_running_node_finish(place: Place) -> None:
    process = place.worker("--grace", "20")
    worker = place.registered(process)
    thread = place.at_the_gate()
    process.send(signal.SIGTERM)
    wait_until(lambda: place.status_of(worker) == "stopping", 10, "the worker to say that it stops")
    place.open_gate()
    assert process.wait(20) == 0
    assert place.client.handle(thread).status() == "succeeded"
    assert place.status_of(worker) == "stopped"
    assert place.gate_task(thread).attempt == 1


def test_a_node_longer_than_the_grace_is_given_back_without_blame(place: Place) -> None:
    process = place.worker("--grace", "0.2")
    worker = place.registered(process)
    thread = place.at_the_gate()
    process.send(signal.SIGTERM)
    assert process.wait(30) == 0
    task = place.gate_task(thread)
    assert (task.status, task.crashes) == ("ready", 0)
    assert place.status_of(worker) == "stopped"
    other = place.worker()
    place.registered(other, but=worker)
    place.open_gate()
    assert place.client.handle(thread).result(20) == {"n": 2}


def test_ctrl_c_twice_ends_at_once(place: Place) -> None:
    process = place.worker("--grace", "600")
    worker = place.registered(process)
    thread = place.at_the_gate()
    process.send(signal.SIGINT)
    wait_until(said(process, "once more: at once"), 10, "the first Ctrl-C to be heard")
    process.send(signal.SIGINT)
    assert process.wait(15) == 0
    assert not alive(worker.pid)
    assert (place.gate_task(thread).status, place.gate_task(thread).crashes) == ("ready", 0)


def test_all_of_it_dies_with_the_supervisor(place: Place) -> None:
    process = place.worker()
    worker = place.registered(process)
    place.at_the_gate()
    family = children(process.pid)
    assert worker.pid in family
    assert len(family) > 1, "the pool has no process of its own"
    os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: not any(map(alive, family)), 10, "the worker and its pool to die")


def test_sighup_brings_new_code(place: Place) -> None:
    process = place.worker()
    first = place.registered(process)
    flow = place.folder / "gated_flow.py"
    flow.write_text(flow.read_text().replace("ONE = 1", "ONE = 10 "))
    place.open_gate()
    process.send(signal.SIGHUP)
    second = place.registered(process, but=first)
    assert place.client.submit("gated", {"n": 1}).result(20) == {"n": 11}
    assert place.status_of(first) == "stopped"
    assert second.worker_id != first.worker_id


@pytest.mark.parametrize(
    ("flow", "words"),
    [
        ("import nowhere_to_be_found\n", "No module named 'nowhere_to_be_found'"),
        ("graph = 1\n", "name a compiled graph"),
    ],
)
def test_a_graph_that_cannot_be_had_keeps_the_worker_from_starting(
    place: Place, flow: str, words: str
) -> None:
    (place.folder / "gated_flow.py").write_text(flow)
    process = place.worker()
    assert process.wait(30) == 2
    assert words in process.tail()
    assert "Traceback" not in process.tail()
    assert "started again" not in process.tail()


def test_a_store_that_is_away_is_waited_for(place: Place) -> None:
    process = place.worker("--store", "redis://127.0.0.1:1/0")
    wait_until(said(process, "started again in 2 s"), 30, lambda: f"a second try: {process.tail()}")
    assert said(process, "127.0.0.1:1/0 does not answer")()
    assert process.stop() == 0


def test_celery_s_own_command_finds_the_app(place: Place) -> None:
    with place.client.place:
        store, broker = place.client.place.store_url, place.client.place.settings.broker
        assert broker is not None
        _ = place.client.store  # sets the schema up
        process = place.run(
            "celery",
            "-A",
            "petiole_workers",
            "worker",
            "-P",
            "solo",
            PETIOLE_STORE=store,
            PETIOLE_BROKER=broker,
        )
        place.registered(process)
        place.open_gate()
        assert place.client.submit("gated", {"n": 1}).result(20) == {"n": 2}
        assert process.stop() == 0


def test_celery_s_own_command_says_what_is_missing(place: Place) -> None:
    process = place.run("celery", "-A", "petiole_workers", "worker")
    assert process.wait(20) == EXIT_CONFIGURATION
    assert (
        process.tail().strip()
        == "petiole: no store is set: set PETIOLE_STORE, or use `petiole worker`, which brings one"
    )


def test_dev_restarts_when_a_file_changes(place: Place) -> None:
    place.open_gate()
    process = place.run("petiole", "dev", "--no-ui")
    first = place.registered(process)
    flow = place.folder / "gated_flow.py"
    whole = flow.read_text()
    flow.write_text("this is no Python\n")
    wait_until(said(process, "waits for the next change"), 20, lambda: f"the refusal: {process.tail()}")
    flow.write_text(whole.replace("ONE = 1", "ONE = 100"))
    place.registered(process, but=first)
    assert place.client.submit("gated", {"n": 1}).result(20) == {"n": 101}
    assert process.stop(number=signal.SIGINT) == 0

"""What workers of other kinds do when they die, and how they get on with each other."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from petiole_stores.records import Worker
from petiole_workers.settings import environment
from tests.cluster import Cluster, open_backend
from tests.cluster.backends import QUORUM
from tests.cluster.worker import IMPORTS
from tests.processes import Leashed
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

DEAD_WORKER = 15.0
BRANCH = "part:1"


@pytest.fixture(scope="module")
def fleet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster without workers: each test starts those that it is about."""
    folder: Path = tmp_path_factory.mktemp("fleet")
    with open_backend("postgresql+redis", folder, request) as backend, Cluster(backend, folder) as cluster:
        yield cluster


@pytest.fixture
def cluster(fleet: Cluster) -> Iterator[Cluster]:
    yield fleet
    fleet.kill_all()


@pytest.mark.parametrize("pool", ["threads", "gevent", "solo"])
def test_a_killed_worker_of_another_pool(cluster: Cluster, pool: str) -> None:
    cluster.start(count=2, pool=pool, name=pool)
    trip = cluster.submit(hold=BRANCH)
    victim = trip.await_node(BRANCH)
    killed = time.time()
    cluster.owner(victim.pid).kill()
    seconds = trip.await_node(BRANCH, times=2).at - killed
    trip.open_gate()
    trip.verify(again={line.node for line in trip.executions() if line.at < killed})
    assert seconds < DEAD_WORKER


def test_children_that_are_replaced_after_two_messages(cluster: Cluster) -> None:
    [worker] = cluster.start(max_tasks_per_child=2, batch=1)
    trips = [cluster.submit() for _ in range(4)]
    for trip in trips:
        trip.verify()
    pids = {line.pid for trip in trips for line in trip.executions()}
    assert len(pids) > 4
    assert {tried.outcome for trip in trips for task in trip.tasks() for tried in task.attempts} == set()
    assert worker.running()


def test_a_worker_without_the_graph_beside_one_with_it(cluster: Cluster) -> None:
    cluster.start(name="without", graphs=["tests.graphs:tour"])
    [fitting] = cluster.start(name="with", graphs=["tests.graphs:other"])
    trips = [cluster.submit(graph="other") for _ in range(2)]
    for trip in trips:
        trip.verify()
    assert {line.pid for trip in trips for line in trip.executions()} <= set(fitting.children())


def test_a_hung_worker_is_fenced_when_it_comes_back(cluster: Cluster) -> None:
    cluster.start(count=2)
    trip = cluster.submit(hold=BRANCH)
    hung = cluster.owner(trip.await_node(BRANCH).pid)
    hung.process.pause()
    try:
        trip.await_node(BRANCH, times=2, timeout=DEAD_WORKER)
        trip.open_gate()
        trip.verify(again={line.node for line in trip.executions()})
    finally:
        hung.process.unpause()
    # Its node goes on, and its output is refused.
    wait_until(
        lambda: "was refused" in hung.process.tail(20_000), 20, lambda: f"a refusal in {hung.process.tail()}"
    )
    wait_until(
        lambda: (known := hung.record(cluster.store)) and known.stats["refused"] >= 1,
        10,
        "the refusal's count in the worker's row",
    )
    trip.verify(again={line.node for line in trip.executions()})
    after = cluster.submit()
    after.verify()


def alive(cluster: Cluster, name: str) -> list[Worker]:
    """The living workers whose name begins so."""
    return [
        worker
        for worker in cluster.store.list_workers()
        if worker.name.startswith(name) and worker.status == "alive"
    ]


def test_a_supervised_worker_is_started_again_and_its_tasks_are_given_back_at_once(cluster: Cluster) -> None:
    base = {key: text for key, text in os.environ.items() if not key.startswith("PETIOLE_")}
    log = cluster.folder / "supervisor.log"
    supervisor = Leashed(
        [sys.executable, "-m", "petiole", "worker", "--name", "kept"],
        log=log, cwd=cluster.folder, env=environment(cluster.settings, base) | {"PYTHONPATH": IMPORTS},
    )  # fmt: skip
    try:
        first = wait_until(lambda: alive(cluster, "kept"), 30, supervisor.tail)[0]
        trip = cluster.submit(hold=BRANCH)
        trip.await_node(BRANCH)
        killed = time.time()
        os.kill(first.pid, signal.SIGKILL)
        trip.await_node(BRANCH, times=2)
        trip.open_gate()
        trip.verify(again={line.node for line in trip.executions() if line.at < killed})
        endings = {
            tried.outcome for task in trip.tasks() for tried in task.attempts if tried.outcome != "retry"
        }
        assert endings == {"crashed"}, "the supervisor told the ledger, no lease had to run out"
        [second] = wait_until(lambda: alive(cluster, "kept"), 10, supervisor.tail)
        assert second.worker_id != first.worker_id
    finally:
        supervisor.stop()


def test_quorum_queues(request: pytest.FixtureRequest, tmp_path: Path) -> None:
    with open_backend(QUORUM, tmp_path, request) as backend, Cluster(backend, tmp_path) as cluster:
        cluster.start(count=2)
        trip = cluster.submit(hold=BRANCH)
        victim = trip.await_node(BRANCH)
        killed = time.time()
        cluster.owner(victim.pid).kill()
        assert trip.await_node(BRANCH, times=2).at - killed < DEAD_WORKER
        trip.open_gate()
        trip.verify(again={line.node for line in trip.executions() if line.at < killed})

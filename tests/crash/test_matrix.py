"""Real SIGKILLs, flushes and doubled messages on every pair of store and broker: nothing is lost, nothing committed twice.

Times: leases of 3 s and sweeps of 0.5 s. The protocol gives a dead worker's tasks to others within 5 s, a dead child's within
1 s, a stopped worker's at once; the limits here are several times that, for slow and busy machines.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cluster import Cluster, Trip
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

DEAD_WORKER, DEAD_CHILD, STOPPED, LOST_MESSAGE = 20.0, 6.0, 6.0, 12.0
#: Held in mid-run: one of several branches of a fan-out.
BRANCH = "part:1"

Took = Callable[[str, float], None]


@pytest.fixture
def took(record_property: Callable[[str, object], None]) -> Took:
    """Records how long a takeover lasted (``--junit-xml`` has it), and prints it."""

    def record(what: str, seconds: float) -> None:
        record_property(what, round(seconds, 2))
        print(f"{what}: {seconds:.2f} s")

    return record


def takeover(trip: Trip, node: str, since: float) -> float:
    """Seconds from ``since`` until the node was executed again."""
    return trip.await_node(node, times=2).at - since


def test_worker_killed_between_commit_and_publish(cluster: Cluster, tmp_path: Path, took: Took) -> None:
    cluster.kill_all()
    # The first commit is the start's, whose only node follows in the same process; the second's followers need messages.
    cluster.start(count=2, crashpoint=f"finish.after:2:{tmp_path / 'died'}:group")
    trip = cluster.submit()
    wait_until((tmp_path / "died").exists, 20, "a worker's death after its commit")
    died = time.time()
    seconds = trip.await_node("left").at - died
    took("lost publish", seconds)
    assert seconds < LOST_MESSAGE
    trip.verify()
    wait_until(lambda: sum(worker.running() for worker in cluster.workers) == 1, 5, "one survivor")


def test_child_killed_in_mid_node(cluster: Cluster, took: Took) -> None:
    cluster.ensure(2)
    trip = cluster.submit(hold=BRANCH)
    victim = trip.await_node(BRANCH)
    owner = cluster.owner(victim.pid)
    killed = time.time()
    owner.kill_child(victim.pid)
    seconds = takeover(trip, BRANCH, killed)
    took("dead child", seconds)
    trip.open_gate()
    trip.verify(again=[BRANCH])
    assert seconds < DEAD_CHILD
    assert owner.running()


def test_worker_killed_in_mid_node(cluster: Cluster, took: Took) -> None:
    cluster.ensure(2)
    trip = cluster.submit(hold=BRANCH)
    victim = trip.await_node(BRANCH)
    owner = cluster.owner(victim.pid)
    killed = time.time()
    owner.kill()
    seconds = takeover(trip, BRANCH, killed)
    took("dead worker", seconds)
    trip.open_gate()
    trip.verify(again={line.node for line in trip.executions() if line.at < killed})
    assert seconds < DEAD_WORKER


def test_all_workers_killed_at_once(cluster: Cluster, took: Took) -> None:
    cluster.ensure(2)
    trips = {}
    for node in ("turn:2", BRANCH):
        trips[node] = cluster.submit(hold=node)
        trips[node].await_node(node)
    done = {node: {line.node for line in trip.executions()} for node, trip in trips.items()}
    cluster.kill_all()
    cluster.start(count=2)
    restarted = time.time()
    seconds = max(takeover(trip, node, restarted) for node, trip in trips.items())
    took("all workers", seconds)
    assert seconds < DEAD_WORKER
    for trip in trips.values():
        trip.open_gate()
    for node, trip in trips.items():
        trip.verify(again=done[node])


def test_broker_flushed_in_mid_run(cluster: Cluster, took: Took) -> None:
    [worker] = cluster.ensure(1)
    # Both slots are held, so that the other runs' messages wait: a few in the worker, the rest in the broker.
    held = [cluster.submit(hold="right") for _ in range(2)]
    for trip in held:
        trip.await_node("right")
    waiting = [cluster.submit(graph="other") for _ in range(15)]
    wait_until(lambda: cluster.messages() > 2, 10, "messages in the broker")
    cluster.backend.flush_broker()
    flushed = time.time()
    assert cluster.messages() == 0
    for trip in held:
        trip.open_gate()
    for trip in (*held, *waiting):
        trip.verify()
    seconds = max(trip.executions("alone")[0].at for trip in waiting) - flushed
    took("flushed broker", seconds)
    assert seconds < DEAD_WORKER
    assert worker.running()


def test_every_message_delivered_twice(cluster: Cluster) -> None:
    cluster.ensure(2)
    cluster.double_messages(True)
    trips = [cluster.submit(parts=6) for _ in range(4)]
    for trip in trips:
        trip.verify()


def test_warm_stop_waits_for_a_node_within_its_grace(cluster: Cluster) -> None:
    cluster.ensure(2)
    trip = cluster.submit(hold=BRANCH)
    owner = cluster.owner(trip.await_node(BRANCH).pid)
    owner.warm_stop()
    wait_until(
        lambda: (record := owner.record(cluster.store)) and record.status == "stopping",
        10,
        "a stopping worker",
    )
    trip.open_gate()
    trip.verify()
    assert owner.process.wait(15) == 0


def test_sigterm_to_the_whole_group_fails_no_node(cluster: Cluster, took: Took) -> None:
    cluster.ensure(2)
    trip = cluster.submit(hold=BRANCH)
    owner = cluster.owner(trip.await_node(BRANCH).pid)
    owner_pids = owner.children()
    ended = time.time()
    owner.terminate_group()
    took("terminated pool", takeover(trip, BRANCH, ended))
    trip.open_gate()
    # What the pool's other process had run and not yet committed is given back, too.
    trip.verify(again={BRANCH, *(line.node for line in trip.executions() if line.pid in owner_pids)})
    owner.process.wait(30)


def test_warm_stop_gives_back_what_outlasts_its_grace(cluster: Cluster, took: Took) -> None:
    cluster.ensure(2)
    trip = cluster.submit(hold=BRANCH)
    owner = cluster.owner(trip.await_node(BRANCH).pid)
    owner.warm_stop()
    stopped = time.time()
    seconds = takeover(trip, BRANCH, stopped) - cluster.settings.grace
    took("stopped worker, after its grace", seconds)
    trip.open_gate()
    trip.verify(again=[BRANCH])
    assert seconds < STOPPED
    owner.process.wait(15)

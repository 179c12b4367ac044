"""Nodes that do not end when they should, under real workers: at their timeout, and when their run is over."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from petiole.client import RunHandle
from petiole_stores.records import Worker
from tests.cluster import Cluster, WorkerProcess, open_backend
from tests.graphs import journal
from tests.stuck import TIMEOUT
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

#: Until a cancelled node is told, at the most: a beat, and some time for a busy machine.
TOLD = 8.0


@pytest.fixture(scope="module")
def fleet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder: Path = tmp_path_factory.mktemp("endings")
    graphs = ("tests.stuck:limited", "tests.stuck:endless", "tests.stuck:awaiting", "tests.stuck:sent")
    with (
        open_backend("postgresql+redis", folder, request) as backend,
        Cluster(backend, folder, graphs=graphs, options={"cancel_grace": 1.0}) as cluster,
    ):
        yield cluster


@pytest.fixture
def cluster(fleet: Cluster) -> Iterator[Cluster]:
    yield fleet
    fleet.kill_all()


class Desk:
    """One run of a graph of :mod:`tests.stuck`."""

    def __init__(
        self, cluster: Cluster, graph: str, folder: Path, *, how: str = "deaf", free: int = 99
    ) -> None:
        self.folder, self.cluster = folder, cluster
        self.handle: RunHandle = cluster.client.submit(graph, {"desk": str(folder), "how": how, "free": free})

    def calls(self) -> int:
        return len(journal(self.folder))

    def await_call(self, number: int = 1) -> None:
        wait_until(lambda: self.calls() >= number, 30, lambda: f"call {number}; {self.calls()} so far")

    def await_end(self, timeout: float = 30.0) -> str:
        return wait_until(lambda: (run := self.handle.run).ended_at and run.status, timeout, "the run's end")

    def task(self) -> Any:
        store = self.cluster.store
        store.hint(self.handle.thread_id, [self.handle.run_id])
        return next(it for it in store.list_tasks(self.handle.run_id) if it.node == "node")


def record(cluster: Cluster, worker: WorkerProcess) -> Worker:
    found = worker.record(cluster.store)
    assert found is not None
    return found


@pytest.mark.parametrize("how", ["deaf", "native"])
def test_a_node_that_cannot_be_interrupted_is_killed_and_tried_again(
    cluster: Cluster, how: str, tmp_path: Path
) -> None:
    [worker] = cluster.start(concurrency=1)
    desk = Desk(cluster, "limited", tmp_path, how=how, free=2)
    assert desk.await_end() == "succeeded"
    task = desk.task()
    assert (task.failures, task.crashes, desk.calls()) == (1, 0, 2)
    assert [tried.outcome for tried in task.attempts] == ["retry"]
    assert "NodeTimeoutError" in task.attempts[0].error
    wait_until(lambda: record(cluster, worker).stats["retried"] == 1, 10)
    assert worker.running()


def test_a_node_that_is_stuck_at_each_try_fails_by_its_timeout(cluster: Cluster, tmp_path: Path) -> None:
    cluster.start(concurrency=1)
    desk = Desk(cluster, "limited", tmp_path)
    assert desk.await_end() == "failed"
    task = desk.task()
    assert (desk.calls(), task.crashes) == (2, 0)
    assert "NodeTimeoutError" in task.error


@pytest.mark.parametrize("pool", ["threads", "gevent"])
def test_a_thread_past_its_timeout_is_fenced_and_its_slot_is_lost_until_it_returns(
    cluster: Cluster, pool: str, tmp_path: Path
) -> None:
    [worker] = cluster.start(pool=pool, concurrency=2)
    desk = Desk(cluster, "limited", tmp_path, how="gate", free=2)
    assert desk.await_end() == "succeeded"  # the second slot has tried it again
    wait_until(lambda: record(cluster, worker).stats["lost_slots"] == 1, 10)
    (tmp_path / "gate").touch()
    wait_until(
        lambda: (stats := record(cluster, worker).stats)["lost_slots"] == 0 and stats["refused"] == 1,
        10,
        lambda: f"{record(cluster, worker).stats}; {worker.process.tail()}",
    )
    assert cluster.client.state(desk.handle.thread_id)["result"] == "done"
    assert desk.task().failures == 1


def test_solo_ends_a_node_that_swallows_its_timeout_by_a_fence(cluster: Cluster, tmp_path: Path) -> None:
    [worker] = cluster.start(pool="solo")
    desk = Desk(cluster, "limited", tmp_path, how="gate")
    desk.await_call()
    wait_until(lambda: desk.task().failures == 1, 10, worker.process.tail)
    (tmp_path / "gate").touch()
    assert desk.await_end() == "succeeded"


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_sends_timeout_ends_its_task_at_each_try_and_no_other(
    cluster: Cluster, pool: str, tmp_path: Path
) -> None:
    cluster.start(pool=pool, concurrency=4)
    desk = Desk(cluster, "sent", tmp_path)
    assert desk.await_end() == "failed"
    limited, free = (it for it in cluster.store.list_tasks(desk.handle.run_id) if it.node == "node")
    assert (limited.status, limited.failures, limited.crashes) == ("failed", 1, 0)
    assert f"ran longer than its timeout of {TIMEOUT} s" in limited.error
    assert [tried.outcome for tried in limited.attempts] == ["retry"]
    assert (free.status, free.timeout, free.attempts) == ("done", None, [])
    assert desk.calls() == 3


def test_a_cancelled_run_s_node_is_told_within_a_beat(cluster: Cluster, tmp_path: Path) -> None:
    [worker] = cluster.start(concurrency=1)
    desk = Desk(cluster, "endless", tmp_path, how="polite")
    desk.await_call()
    desk.handle.cancel()
    wait_until((tmp_path / "told").exists, TOLD, worker.process.tail)
    wait_until(lambda: record(cluster, worker).stats["refused"] == 1, 10)


@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_cancelled_run_s_async_node_is_cancelled(cluster: Cluster, pool: str, tmp_path: Path) -> None:
    [worker] = cluster.start(concurrency=1, pool=pool)
    desk = Desk(cluster, "awaiting", tmp_path)
    desk.await_call()
    desk.handle.cancel()
    wait_until((tmp_path / "told").exists, TOLD, worker.process.tail)
    assert desk.await_end() == "cancelled"


def test_a_deleted_run_s_deaf_node_is_killed_after_its_grace(cluster: Cluster, tmp_path: Path) -> None:
    [worker] = cluster.start(concurrency=1)
    desk = Desk(cluster, "endless", tmp_path)
    desk.await_call()
    [child] = worker.children()
    desk.handle.cancel()
    cluster.store.delete_thread(desk.handle.thread_id)
    wait_until(lambda: child not in worker.children(), TOLD + 3, worker.process.tail)
    after = Desk(cluster, "endless", tmp_path, free=1)
    assert after.await_end() == "succeeded", "its slot is free for others"


def test_a_thread_that_goes_on_though_it_is_cancelled_is_a_lost_slot(
    cluster: Cluster, tmp_path: Path
) -> None:
    [worker] = cluster.start(concurrency=2, pool="threads")
    desk = Desk(cluster, "endless", tmp_path, how="gate")
    desk.await_call()
    desk.handle.cancel()
    wait_until(lambda: record(cluster, worker).stats["lost_slots"] == 1, TOLD + 3, worker.process.tail)
    (tmp_path / "gate").touch()
    wait_until(lambda: record(cluster, worker).stats["lost_slots"] == 0, 10, worker.process.tail)


def test_a_worker_that_dies_between_ending_a_node_and_saying_so(cluster: Cluster, tmp_path: Path) -> None:
    """Nothing is committed in the node's place: its task is taken up as a lost one."""
    mark = tmp_path / "died"
    [worker] = cluster.start(concurrency=1, crashpoint=f"timeout.before:1:{mark}")
    desk = Desk(cluster, "limited", tmp_path, free=2)
    wait_until(mark.exists, 20)
    wait_until(lambda: not worker.running(), 10)
    cluster.start(concurrency=1)
    assert desk.await_end() == "succeeded"
    task = desk.task()
    assert (task.failures, [tried.outcome for tried in task.attempts]) == (0, ["lost"])


def test_a_worker_that_dies_when_a_timeout_is_committed(cluster: Cluster, tmp_path: Path) -> None:
    mark = tmp_path / "died"
    cluster.start(concurrency=1, crashpoint=f"timeout.after:1:{mark}")
    desk = Desk(cluster, "limited", tmp_path, free=2)
    wait_until(mark.exists, 20)
    cluster.start(concurrency=1)
    assert desk.await_end() == "succeeded"
    assert [tried.outcome for tried in desk.task().attempts] == ["retry"]


def test_cancellations_and_timeouts_leave_no_crash_behind(cluster: Cluster, tmp_path: Path) -> None:
    """Many at once: processes are killed and replaced, and a following run is none the worse."""
    [worker] = cluster.start(concurrency=2)
    desks = []
    for number in range(3):
        folder = tmp_path / str(number)
        folder.mkdir()
        desks.append(Desk(cluster, "limited", folder, free=2))
    assert [desk.await_end(60) for desk in desks] == ["succeeded"] * 3
    assert [desk.task().crashes for desk in desks] == [0, 0, 0]
    began = time.monotonic()
    (tmp_path / "after").mkdir()
    assert Desk(cluster, "limited", tmp_path / "after", free=1).await_end() == "succeeded"
    assert time.monotonic() - began < 10
    assert worker.running()

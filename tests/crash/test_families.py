"""Real workers that die while a node waits for a child run, or a Celery task for its retry."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from petiole import RunHandle
from petiole_stores.records import Run, Task
from petiole_workers.children import parent_of
from tests.cluster import Cluster, open_backend
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

GRAPHS = tuple(f"tests.crash.families:{name}" for name in ("outer", "shop", "billing", "asker", "asking"))
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def fleet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    folder: Path = tmp_path_factory.mktemp("families")
    with (
        open_backend("sqlite+embedded", folder, request) as backend,
        Cluster(backend, folder, graphs=GRAPHS, options={"concurrency": 1}) as cluster,
    ):
        yield cluster


@pytest.fixture
def cluster(fleet: Cluster) -> Iterator[Cluster]:
    """A cluster with one worker, which has one slot."""
    fleet.start()
    yield fleet
    fleet.kill_all()


@pytest.fixture
def desk(tmp_path: Path) -> Path:
    (tmp_path / "log").touch()
    return tmp_path


def log(desk: Path) -> list[str]:
    return [line.rpartition(" ")[0] for line in (desk / "log").read_text().splitlines()]


def parked(cluster: Cluster, run_id: str, node: str) -> Task:
    def found() -> Task | None:
        tasks = cluster.client.tasks(run_id)
        return next((it for it in tasks if (it.node, it.status) == (node, "parked")), None)

    task = wait_until(found, 30, f"{node} to be parked")
    assert task is not None
    return task


def run_of(cluster: Cluster, graph: str, parent: RunHandle) -> Run:
    """The run of a graph below this one."""

    def found() -> Run | None:
        ids = {parent.run_id}
        for run in sorted(cluster.client.list_runs(since=parent.run.created_at), key=lambda run: run.seq):
            above = parent_of(run)
            if above is not None and above.run_id in ids:
                ids.add(run.run_id)
                if run.graph == graph:
                    return run
        return None

    run = wait_until(found, 30, f"a run of {graph}")
    assert run is not None
    return run


def test_a_worker_is_killed_while_parents_wait(cluster: Cluster, desk: Path) -> None:
    handle = cluster.client.submit("outer", {"desk": str(desk), "order": 7})
    wait_until(lambda: log(desk) == ["price"], 30, "the innermost node, in the only slot there is")
    shop, billing = run_of(cluster, "shop", handle), run_of(cluster, "billing", handle)
    assert parked(cluster, handle.run_id, "node").awaits == f"run:{shop.run_id}"
    assert parked(cluster, shop.run_id, "bill").awaits == f"run:{billing.run_id}"
    cluster.kill_all()
    cluster.start()
    wait_until(lambda: log(desk) == ["price", "price"], 30, "the node in the new worker")
    (desk / "gate").touch()
    assert handle.result(60)["receipt"] == "70 in try 3"
    assert log(desk) == ["price", "price", "charge 0", "charge 1", "charge 2"]
    graphs = [run.graph for run in cluster.client.list_runs(since=handle.run.created_at)]
    assert sorted(graphs) == ["billing", "outer", "shop"], "each child was submitted once"


def test_a_worker_is_killed_between_the_tries_of_a_celery_task(cluster: Cluster, desk: Path) -> None:
    (desk / "gate").touch()
    handle = cluster.client.submit("shop", {"desk": str(desk), "order": 1})
    task = parked(cluster, handle.run_id, "charge")
    assert task.failures == 1
    assert "ConnectionError" in (task.error or "")
    cluster.kill_all()
    cluster.start()
    assert handle.result(60)["receipt"] == "10 in try 3"
    assert log(desk) == ["price", "charge 0", "charge 1", "charge 2"]


def test_a_worker_is_killed_while_a_child_waits_for_somebody(cluster: Cluster, desk: Path) -> None:
    handle = cluster.client.submit("asker", {"desk": str(desk)})
    child = run_of(cluster, "asking", handle)
    wait_until(lambda: cluster.client.get_run(child.run_id).status == "interrupted", 30)
    parked(cluster, handle.run_id, "node")
    cluster.kill_all()
    assert "how much?" in cluster.client.explain(handle.thread_id).summary
    cluster.start()
    cluster.client.resume(child.thread_id, 12)
    assert handle.result(60)["total"] == 12

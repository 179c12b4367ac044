"""A worker dies at each point of a hop and of the sweep's publishing; another takes over, and nothing shows."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import Cluster, open_backend
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

#: Where a worker dies in its own run, and at which time it gets there.
HOPS = {
    "claim.before": 2,
    "claim.after": 2,
    "node.after": 2,
    "finish.before": 2,
    "finish.after": 2,
    "publish.after": 1,
}
#: Reached by each worker's sweep, which publishes for all queues.
SWEEPS = {"due.after": 1, "refill.after": 1}


@pytest.fixture
def cluster(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Cluster]:
    with (
        open_backend("postgresql+redis", tmp_path, request) as backend,
        Cluster(backend, tmp_path) as cluster,
    ):
        yield cluster


def test_workers_that_die_at_every_point(cluster: Cluster, tmp_path: Path) -> None:
    points = HOPS | SWEEPS
    # Each worker is alone on a queue of its own; their messages are lost first, so that their sweeps must publish.
    trips = {point: cluster.submit(queue=point) for point in points}
    cluster.backend.flush_broker()
    for point, nth in points.items():
        mark = tmp_path / f"{point}.died"
        cluster.start(
            crashpoint=f"{point}:{nth}:{mark}", name=f"{point}-", wait=False, pool="solo", queue=point
        )
    for point in points:
        wait_until((tmp_path / f"{point}.died").exists, 40, f"a death at {point}")
    wait_until(lambda: not any(worker.running() for worker in cluster.workers), 10, "the death of all")
    before = {point: {line.node for line in trip.executions()} for point, trip in trips.items()}
    assert [point for point in HOPS if trips[point].handle.run.ended_at] == []
    cluster.start(queues=["petiole", *points])
    started = time.time()
    for point, trip in trips.items():
        trip.verify(again=before[point], timeout=40)
    print(f"all taken over within {time.time() - started:.1f} s")

"""A wide fan-out on real workers, one of which is killed in the midst: every branch counts once in the join."""

from __future__ import annotations

from pathlib import Path

import pytest

from petiole.client import Client
from petiole_workers.settings import Settings
from tests.cluster.worker import WorkerProcess
from tests.integration.map_reduce import graph
from tests.waiting import wait_until

WIDTH = 1000

pytestmark = [pytest.mark.slow, pytest.mark.redis, pytest.mark.timeout(300)]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_url"))
    return f"sqlite:///{tmp_path}/store.db"


def test_every_branch_counts_once(store_url: str, redis_url: str, tmp_path: Path) -> None:
    settings = Settings(
        store=store_url,
        broker=redis_url,
        data_dir=str(tmp_path),
        graphs=["tests.integration.map_reduce:graph"],
        concurrency=1,
        lease=3.0,
        sweep=0.5,
    )
    workers = [WorkerProcess(name, settings, tmp_path, {}) for name in ("one", "two")]
    try:
        with Client(settings=settings) as client:
            for worker in workers:
                worker.await_registered(client.store, 60)
            handle = client.submit(graph, {"width": WIDTH, "squares": []})

            def done() -> int:
                counts = client.store.task_counts(handle.run_id)
                return sum(it.count for it in counts if it.node == "square" and it.status == "done")

            wait_until(lambda: done() >= WIDTH // 10, 120)
            workers[0].kill()
            result = handle.result(240)
            assert done() == WIDTH
            assert result["squares"] == [number**2 for number in range(WIDTH)]
            assert result["total"] == sum(number**2 for number in range(WIDTH))
    finally:
        for worker in workers:
            worker.kill()

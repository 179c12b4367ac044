"""The store is gone while nodes run: they finish, their outputs wait in the spool, and nothing is run twice for it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from petiole_workers.spool import SpoolFolder
from tests.cluster import Cluster
from tests.cluster.backends import Backend
from tests.servers import OwnPostgres, OwnRedis, OwnServer
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

BRANCH = "part:1"


def spooled(folder: Path) -> int:
    """How many entries wait below this data folder."""
    spools = SpoolFolder(folder)
    return sum(1 for holder in spools.holders() for _ in spools.of(holder).entries())


@pytest.fixture
def cluster(own_server: Callable[[type[OwnServer]], OwnServer], tmp_path: Path) -> Cluster:
    postgres, broker = own_server(OwnPostgres), own_server(OwnRedis)
    backend = Backend(postgres.url, broker.url, broker.flush)
    return Cluster(backend, tmp_path, options={"store_timeout": 0.5, "lease": 3.0})


def test_a_node_that_ends_while_the_store_is_gone_is_not_run_again(
    cluster: Cluster, own_server: Callable[[type[OwnServer]], OwnServer], tmp_path: Path
) -> None:
    postgres = own_server(OwnPostgres)
    with cluster:
        [worker] = cluster.start()
        trip = cluster.submit(hold=BRANCH)
        trip.await_node(BRANCH)
        postgres.kill()
        wait_until(
            lambda: "no more messages are taken" in worker.process.tail(50_000), 30, worker.process.tail
        )
        trip.open_gate()
        wait_until(lambda: spooled(tmp_path), 30, worker.process.tail)
        postgres.start()
        wait_until(lambda: "was sent" in worker.process.tail(50_000), 30, worker.process.tail)
        wait_until(lambda: "messages are taken" in worker.process.tail(50_000), 30, worker.process.tail)
        trip.verify(timeout=60)
        assert spooled(tmp_path) == 0
        cluster.submit().verify()


def test_the_spool_of_a_dead_worker_is_sent_by_the_next_one(
    cluster: Cluster, own_server: Callable[[type[OwnServer]], OwnServer], tmp_path: Path
) -> None:
    postgres = own_server(OwnPostgres)
    with cluster:
        [worker] = cluster.start()
        trip = cluster.submit(hold=BRANCH)
        trip.await_node(BRANCH)
        postgres.kill()
        trip.open_gate()
        wait_until(lambda: spooled(tmp_path), 30, worker.process.tail)
        worker.kill()
        postgres.start()
        [second] = cluster.start()
        wait_until(lambda: "was sent" in second.process.tail(50_000), 30, second.process.tail)
        trip.verify(again=[line.node for line in trip.executions()], timeout=60)
        assert len(trip.executions(BRANCH)) <= 2
        assert spooled(tmp_path) == 0


@pytest.mark.parametrize("point", ["spool.before", "spool.after"])
def test_a_worker_that_dies_while_it_sends_a_spool(
    point: str, cluster: Cluster, own_server: Callable[[type[OwnServer]], OwnServer], tmp_path: Path
) -> None:
    postgres = own_server(OwnPostgres)
    with cluster:
        [worker] = cluster.start()
        trip = cluster.submit(hold=BRANCH)
        trip.await_node(BRANCH)
        postgres.kill()
        trip.open_gate()
        wait_until(lambda: spooled(tmp_path), 30, worker.process.tail)
        worker.kill()
        postgres.start()
        mark = tmp_path / "died"
        [second] = cluster.start(crashpoint=f"{point}:1:{mark}", wait=False)
        wait_until(lambda: mark.exists() and not second.running(), 30, second.process.tail)
        assert spooled(tmp_path), "what was not seen to be sent is kept"
        cluster.start()
        trip.verify(again=[line.node for line in trip.executions()], timeout=60)
        wait_until(lambda: spooled(tmp_path) == 0, 10)


def test_a_run_is_accepted_while_the_broker_is_gone(
    cluster: Cluster, own_server: Callable[[type[OwnServer]], OwnServer]
) -> None:
    broker = own_server(OwnRedis)
    with cluster:
        [worker] = cluster.start()
        trip = cluster.submit(hold=BRANCH)
        trip.await_node(BRANCH)
        broker.kill()
        accepted = cluster.submit()
        assert accepted.handle.status() in ("queued", "running")
        trip.open_gate()
        broker.start()
        trip.verify(timeout=60)
        accepted.verify(timeout=60)
        os.kill(worker.pid, signal.SIGTERM)

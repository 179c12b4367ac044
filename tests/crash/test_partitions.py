"""Workers on hosts of their own, one of which the network cuts off from the store or from the broker for longer than a lease.

A partition drops packets without a word, those that the host sends, those that it is sent, or both. The other host's
worker takes over; what the cut-off one still finishes is refused; after healing it works again.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import Backend, Cluster, WorkerProcess
from tests.cluster.hosts import Hosts, Way, missing
from tests.conftest import unavailable
from tests.servers import OwnPostgres, OwnRedis, OwnServer
from tests.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

#: A lease is 3 s. A takeover over a silent network; how long a cut-off worker may take to come back after healing.
TAKEOVER, RETURN = 30.0, 60.0
WAYS: tuple[Way, ...] = ("out", "in", "both")
BRANCH = "part:1"


class Field:
    """Two hosts with a worker each, and the servers that both reach."""

    def __init__(self, hosts: Hosts, cluster: Cluster, store: OwnServer, broker: OwnServer) -> None:
        self.hosts, self.cluster, self.store, self.broker = hosts, cluster, store, broker
        self.workers: list[WorkerProcess] = []

    def man(self) -> None:
        """A new worker on each host, and every way open."""
        self.cluster.kill_all()
        self.workers = []
        for place in range(2):
            self.hosts[place].heal()
            [worker] = self.cluster.start(name=f"host{place}-", prefix=self.hosts[place].prefix)
            self.workers.append(worker)

    def place_of(self, pid: int) -> int:
        """The host of a process."""
        return next(place for place, worker in enumerate(self.workers) if worker.owns(pid))


@pytest.fixture(scope="module", params=[OwnPostgres, OwnRedis], ids=["postgresql", "redis"])
def shared_field(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    kind: type[OwnServer] = request.param
    for reason in (missing(), kind.missing(), OwnRedis.missing()):
        if reason:
            unavailable(reason)
    folder = tmp_path_factory.mktemp("hosts")
    with (
        Hosts(2) as hosts,
        kind(host=hosts.address) as store,
        OwnRedis(host=hosts.address) as broker,
        Cluster(Backend(store.url, broker.url, broker.flush), folder) as cluster,
    ):
        yield Field(hosts, cluster, store, broker)


@pytest.fixture
def field(shared_field: Field) -> Iterator[Field]:
    shared_field.man()
    yield shared_field
    shared_field.cluster.kill_all()


@pytest.fixture
def cluster(field: Field) -> Cluster:
    """By this name a failed test's report finds the workers' logs."""
    return field.cluster


def await_work_on(field: Field, place: int) -> None:
    """Submit runs until the worker on this host has committed a task of one, and let all end."""
    record = field.workers[place].record(field.cluster.store)
    assert record is not None

    def worked() -> bool:
        trip = field.cluster.submit(graph="other")
        trip.verify(again=["alone"], timeout=RETURN)
        return any(task.holder == record.worker_id for task in trip.tasks())

    wait_until(worked, RETURN, f"a task of the worker on host {place}", interval=0.1)


@pytest.mark.parametrize("way", WAYS)
def test_a_worker_cut_off_from_the_store_commits_nothing_after_its_claim_moved(
    field: Field, cluster: Cluster, way: Way
) -> None:
    trip = cluster.submit(hold=BRANCH)
    lost = field.place_of(trip.await_node(BRANCH).pid)
    log = field.workers[lost].log

    cut_at = time.time()
    field.hosts[lost].cut_off(field.store.port, way)
    # The other host's worker claims what this one held, and only then the held node ends, on both hosts.
    again = trip.await_node(BRANCH, times=2, timeout=TAKEOVER)
    assert field.place_of(again.pid) != lost
    assert again.at - cut_at < TAKEOVER
    trip.open_gate()
    trip.verify(again={line.node for line in trip.executions()}, timeout=TAKEOVER)

    field.hosts[lost].heal()
    wait_until(
        lambda: "dropped" in log.read_text(errors="replace"),
        RETURN,
        lambda: f"the cut-off worker's output to be refused; its log ends:\n{log.read_text()[-2000:]}",
    )
    trip.verify(again={line.node for line in trip.executions()})
    await_work_on(field, lost)


@pytest.mark.parametrize("way", WAYS)
def test_a_worker_cut_off_from_the_broker_loses_no_run(field: Field, cluster: Cluster, way: Way) -> None:
    trip = cluster.submit(hold=BRANCH)
    lost = field.place_of(trip.await_node(BRANCH).pid)

    field.hosts[lost].cut_off(field.broker.port, way)
    more = [cluster.submit() for _ in range(4)]
    time.sleep(2 * cluster.settings.lease)  # it is the partition that has to last, whatever happens meanwhile
    assert len(trip.executions(BRANCH)) == 1, "its lease is renewed: nobody else may claim"
    trip.open_gate()
    for other in (trip, *more):
        other.verify(timeout=RETURN)

    field.hosts[lost].heal()
    await_work_on(field, lost)


def test_hosts_leave_nothing_behind(tmp_path: Path) -> None:
    if reason := missing():
        unavailable(reason)
    with Hosts(1) as hosts:
        name = hosts[0].name
        assert (Path("/run/netns") / name).exists()
    assert not (Path("/run/netns") / name).exists()

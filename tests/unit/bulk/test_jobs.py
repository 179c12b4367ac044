"""Bulk jobs whose servers stop, die and lose their leases: each run is treated, and none is forgotten."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from petiole.access.principal import ANONYMOUS
from petiole.audit.client import AuditedClient
from petiole.audit.entry import Origin
from petiole.bulk import doing, treating
from petiole.bulk.asking import begin
from petiole.bulk.doing import Jobs
from petiole.bulk.job import OTHER, Job, Wanted
from petiole.bulk.kept import LEASE, OPEN, KeptJobs
from petiole.testing import LocalWorker
from petiole_stores.errors import StoreUnavailableError
from petiole_stores.records import RunFilter
from tests.unit.driving import counting
from tests.waiting import wait_until

ORIGIN = Origin(actor="key:1", via="api", address="10.0.0.7")
EVERYTHING = RunFilter(graph="counting")


@pytest.fixture
def worker(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalWorker]:
    """Five queued runs, and jobs that take two at a time."""
    monkeypatch.setattr(treating, "BATCH", 2)
    monkeypatch.setattr(doing, "LOOK", 0.02)
    graph = counting()
    with LocalWorker([graph]) as made:
        for number in range(5):
            made.client.submit(graph, {"n": 1}, thread_id=f"t{number}")
        yield made


@pytest.fixture
def servers(worker: LocalWorker) -> Iterator[list[Jobs]]:
    """Two servers that do nothing yet."""
    made = [Jobs(worker.client), Jobs(worker.client)]
    yield made
    for one in made:
        one.close(5.0)


def begun(worker: LocalWorker, wanted: Wanted | None = None) -> Job:
    """A job that nobody does yet."""
    now = worker.client.now()
    job = Job(
        id="job",
        wanted=wanted or Wanted(action="pause", filter=EVERYTHING),
        origin=ORIGIN,
        total=5,
        created_at=now,
        beat_at=now,
    )
    return KeptJobs(worker.store).add(job)


def ended(worker: LocalWorker, id: str = "job") -> Job:
    kept = KeptJobs(worker.store)
    wait_until(lambda: not kept.find(id).is_running, message=lambda: f"not ended: {kept.find(id)}")
    return kept.find(id)


def paused(worker: LocalWorker) -> int:
    return worker.client.count_runs()["paused"]


def test_one_server_does_a_job_and_the_audit_log_says_for_whom(
    worker: LocalWorker, servers: list[Jobs]
) -> None:
    wanted = Wanted(action="pause", filter=EVERYTHING, reason="closed")
    job = begin(AuditedClient(worker.client, ORIGIN), wanted, ANONYMOUS)
    for server in servers:
        server.wake()
    done = ended(worker, job.id)
    assert (done.status, done.total, done.done, done.already) == ("done", 5, 5, 0)
    assert paused(worker) == 5
    assert worker.store.search_items(OPEN) == []
    entries = worker.store.search_items(("petiole", "audit"), limit=100)
    his = [it.value for it in entries if '"address":"10.0.0.7"' in it.value]
    assert sum('"run.pause"' in it for it in his) == 5
    assert sum('"bulk.start"' in it for it in his) == 1


def test_another_server_goes_on_where_a_dead_one_was(worker: LocalWorker, servers: list[Jobs]) -> None:
    kept = KeptJobs(worker.store)
    begun(worker)
    job = kept.claim("job", "one that dies")
    assert job is not None
    assert treating.treat_batch(worker.client, job)
    kept.keep(job)
    assert treating.treat_batch(worker.client, job)  # and dies before it has said so
    servers[0].start()
    servers[0].wake()
    assert kept.claim("job", "a third one") is None
    assert kept.find("job").done == 2
    worker.clock.tick(LEASE + 1)
    done = ended(worker)
    assert (done.status, done.done, done.already, paused(worker)) == ("done", 3, 2, 5)


def test_a_server_that_stops_leaves_its_job_to_the_next(
    worker: LocalWorker, servers: list[Jobs], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = servers
    held, go_on = threading.Event(), threading.Event()
    pause = worker.store.pause

    def slowly(run_ids: Any, **options: Any) -> Any:
        held.set()
        assert go_on.wait(10)
        return pause(run_ids, **options)

    monkeypatch.setattr(worker.store, "pause", slowly)
    begun(worker)
    first.start()
    assert held.wait(10)
    closing = threading.Thread(target=first.close, args=(10.0,))
    closing.start()
    wait_until(first.is_closing.is_set, message="the first server does not stop")
    go_on.set()
    closing.join(10)
    stopped = KeptJobs(worker.store).find("job")
    assert (stopped.status, stopped.done) == ("running", 2)
    second.start()
    done = ended(worker)
    assert (done.status, done.done, done.already) == ("done", 5, 0)


def test_a_server_may_stop_at_the_moment_that_a_job_begins(
    worker: LocalWorker, servers: list[Jobs], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = servers
    beginning, start = threading.Event(), threading.Thread.start

    def slowly(thread: threading.Thread) -> None:
        if thread.name == "bulk-job":
            beginning.set()
            assert first.is_closing.wait(10)
        start(thread)

    with ThreadPoolExecutor() as pool:
        monkeypatch.setattr(threading.Thread, "start", slowly)
        begun(worker)
        first.start()
        assert beginning.wait(10)
        closed = pool.submit(first.close, 10.0)
        closed.result(10)
    assert not first.is_busy
    second.start()
    done = ended(worker)
    assert (done.status, done.done) == ("done", 5)


def test_a_store_that_fails_costs_a_job_nothing(
    worker: LocalWorker, servers: list[Jobs], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    pause = worker.store.pause

    def failing(run_ids: Any, **options: Any) -> Any:
        calls.append(run_ids)
        if len(calls) == 4:
            raise StoreUnavailableError("gone for a moment")
        return pause(run_ids, **options)

    monkeypatch.setattr(worker.store, "pause", failing)
    begun(worker)
    servers[0].start()
    done = ended(worker)
    assert (done.status, done.done, done.already, paused(worker)) == ("done", 4, 1, 5)


def test_who_has_lost_his_lease_writes_nothing_more(
    worker: LocalWorker, servers: list[Jobs], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = KeptJobs(worker.store)
    pause = worker.store.pause
    monkeypatch.setattr(doing, "LOOK", 60.0)
    done: list[int] = []

    def counted(run_ids: Any, **options: Any) -> Any:
        done.append(1)
        if len(done) == 3:  # in the second batch
            kept.release("job")
            assert kept.claim("job", "another") is not None
        return pause(run_ids, **options)

    monkeypatch.setattr(worker.store, "pause", counted)
    begun(worker)
    servers[0].start()
    wait_until(lambda: len(done) == 4 and not servers[0].is_busy, message="it goes on without a lease")
    assert kept.find("job").done == 2
    assert kept.renew("job", "another") == "wanted"


def test_runs_that_are_named_are_treated_and_no_others(worker: LocalWorker, servers: list[Jobs]) -> None:
    ids = [run.run_id for run in worker.client.list_runs()][:3]
    wanted = Wanted(action="cancel", filter=EVERYTHING, run_ids=[*ids, "gone"], reason="these")
    job = begin(AuditedClient(worker.client, ORIGIN), wanted, ANONYMOUS)
    servers[0].wake()
    done = ended(worker, job.id)
    assert (done.status, done.total, done.done, done.treated) == ("done", 4, 3, 4)
    assert {run.run_id for run in worker.client.list_runs(status="cancelled")} == set(ids)


def test_what_was_submitted_after_a_job_began_is_left_alone(worker: LocalWorker, servers: list[Jobs]) -> None:
    begun(worker)
    worker.clock.tick(1)
    worker.client.submit("counting", {"n": 1}, thread_id="later")
    servers[0].start()
    assert ended(worker).done == 5
    assert worker.client.get_run("later").status == "queued"


def test_an_error_of_its_own_ends_a_job_and_is_told(
    worker: LocalWorker, servers: list[Jobs], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(client: Any, job: Job) -> bool:
        raise ValueError("a mistake")

    monkeypatch.setattr(doing, "treat_batch", broken)
    begun(worker)
    servers[0].start()
    done = ended(worker)
    assert (done.status, done.error) == ("failed", "ValueError: a mistake")
    assert worker.store.search_items(OPEN) == []


def test_reasons_are_counted_apart_up_to_a_number(worker: LocalWorker) -> None:
    job = begun(worker)
    [run, *_] = worker.client.list_runs()
    for number in range(60):
        job.count(treating.Treated(run=run, result="refused", reason=f"because of {number}"))
    assert (len(job.refused), job.refused[OTHER], len(job.refusals)) == (21, 40, 50)

"""Heartbeat and sweep, tick by tick: outages of the store, orphaned claims, and hints that the broker lost."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any

import pytest
from celery.worker import state

from petiole_stores.errors import StoreUnavailableError
from petiole_stores.records import QueueBacklog, SweepReport, TaskRef, Worker
from petiole_workers import fitting
from petiole_workers.celery import sweeper as sweeping
from petiole_workers.celery.heartbeat import Heartbeat
from petiole_workers.celery.sweeper import Sweeper
from petiole_workers.celery.threads import Periodic
from tests.unit.engine.bench import HOLDER, Bench, chain, says


class Broker:
    """What a publisher shows of the broker; queues are as deep as the test says."""

    def __init__(self) -> None:
        self.depths: dict[str, int] = {}
        self.out: list[TaskRef] = []
        self.up = True

    def depth(self, queue: str) -> int:
        if not self.up:
            raise ConnectionError("down")
        return self.depths.get(queue, 0)

    def publish(self, refs: list[TaskRef]) -> list[str]:
        if not self.up:
            return []
        self.out.extend(refs)
        return [ref.task_id for ref in refs]


class Fleet:
    def __init__(self) -> None:
        self.bench = Bench(chain(a=says("a")))
        self.broker = Broker()
        self.away = False
        store = self.bench.store
        for name in ("_beat", "_sweep", "_due"):
            setattr(store, name, self.unless_away(getattr(store, name)))
        self.context: Any = SimpleNamespace(
            store=store,
            holder=HOLDER,
            publisher=self.broker,
            settings=self.bench.settings,
            fleet=fitting.Fleet(store),
        )
        self.described = Worker(worker_id=HOLDER, name=HOLDER, lease=15.0)

    def unless_away(self, operation: Any) -> Any:
        def checked(*args: Any) -> Any:
            if self.away:
                raise StoreUnavailableError("cut")
            return operation(*args)

        return checked


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch) -> Fleet:
    monkeypatch.setattr(state, "active_requests", set())
    monkeypatch.setattr(state, "reserved_requests", set())
    return Fleet()


# ---------------------------------------------------------------- heartbeat


def test_an_outage_is_said_once_and_so_is_its_end(fleet: Fleet, caplog: pytest.LogCaptureFixture) -> None:
    heart = Heartbeat(fleet.context, fleet.described)
    fleet.away = True
    for _ in range(3):
        heart.tick()
    fleet.away = False
    for _ in range(3):
        heart.tick()
    assert [record.message.split("(")[0].strip() for record in caplog.records] == [
        "the lease could not be renewed", "the lease is renewed again",
    ]  # fmt: skip


def test_a_revived_holder_says_that_it_had_lost_its_lease(
    fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    heart = Heartbeat(fleet.context, fleet.described)
    fleet.bench.now += 20
    fleet.bench.store.sweep()
    heart.tick()
    assert "it had run out" in caplog.text


def test_claims_that_nobody_works_on_are_given_back_at_the_second_look(fleet: Fleet) -> None:
    run_id = fleet.bench.submit()
    fleet.bench.store.claim(HOLDER, "1", [(fleet.bench.hint().task_id, "lost answer")])
    heart = Heartbeat(fleet.context, fleet.described)
    heart.tick()
    assert fleet.broker.out == []
    heart.tick()
    assert [ref.run_id for ref in fleet.broker.out] == [run_id]
    heart.tick()
    assert len(fleet.broker.out) == 1


@pytest.mark.parametrize("busy", ["active_requests", "reserved_requests"])
def test_a_worker_with_work_keeps_its_claims(busy: str, fleet: Fleet) -> None:
    fleet.bench.submit()
    fleet.bench.store.claim(HOLDER, "1", [(fleet.bench.hint().task_id, "token")])
    heart = Heartbeat(fleet.context, fleet.described)
    heart.tick()
    getattr(state, busy).add("request")
    heart.tick()
    getattr(state, busy).clear()
    heart.tick()
    assert fleet.broker.out == [], "it was not idle at two looks in a row"


# ---------------------------------------------------------------- sweep


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    now = SimpleNamespace(at=0.0)
    monkeypatch.setattr(sweeping, "time", SimpleNamespace(monotonic=lambda: now.at))
    return now


def test_nobody_is_declared_dead_before_a_whole_lease_was_watched(
    fleet: Fleet, clock: SimpleNamespace
) -> None:
    sweeper = Sweeper(fleet.context)

    def pass_time(seconds: float) -> str:
        fleet.bench.now += seconds
        clock.at += seconds
        sweeper.tick()
        return next(worker.status for worker in fleet.bench.store.list_workers())

    fleet.bench.now += 3600
    assert [pass_time(5) for _ in range(3)] == ["alive", "alive", "alive"]
    fleet.away = True
    pass_time(5)
    fleet.away = False
    assert [pass_time(5) for _ in range(4)] == ["alive"] * 3 + ["dead"], "an outage begins the watch anew"


def test_a_long_silence_of_the_sweep_itself_begins_the_watch_anew(
    fleet: Fleet, clock: SimpleNamespace
) -> None:
    """A process that was stopped, or hung at its broker, has not seen the store answer meanwhile."""
    seen: list[float] = []

    def sweep(observed: float, now: float | None) -> SweepReport:
        seen.append(observed)
        return SweepReport(now=fleet.bench.now)

    fleet.bench.store._sweep = sweep  # type: ignore[method-assign]
    sweeper = Sweeper(fleet.context)
    for step in (0, 2, 2, 60, 2):
        clock.at += step
        sweeper.tick()
    assert seen == [0.0, 2.0, 4.0, 0.0, 2.0]


def test_an_empty_queue_is_refilled_after_its_settling_time(fleet: Fleet) -> None:
    fleet.bench.submit()
    sweeper = Sweeper(fleet.context)
    sweeper.tick()
    assert fleet.broker.out == [], "it was published just now, and somebody may have taken it"
    fleet.bench.now += sweeping.SETTLING + 0.1
    sweeper.tick()
    sweeper.tick()
    assert len(fleet.broker.out) == 1, "and it is not published a second time at once"


def test_only_what_the_queue_lacks_is_published(fleet: Fleet) -> None:
    for number in range(5):
        fleet.bench.submit(thread_id=f"t{number}")
    fleet.broker.depths["petiole"] = 3
    fleet.bench.now += 60
    sweeper = Sweeper(fleet.context)
    sweeper.tick()
    assert len(fleet.broker.out) == 2
    fleet.broker.depths["petiole"] = 5
    sweeper.tick()
    assert len(fleet.broker.out) == 2


def test_a_large_backlog_is_published_in_batches(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "BATCH", 2)
    for number in range(5):
        fleet.bench.submit(thread_id=f"t{number}")
    fleet.bench.now += 60
    Sweeper(fleet.context).tick()
    assert len({ref.task_id for ref in fleet.broker.out}) == 5


def test_a_broker_that_is_down_is_asked_again_at_the_next_sweep(fleet: Fleet) -> None:
    fleet.bench.submit()
    fleet.bench.now += 60
    fleet.broker.up = False
    sweeper = Sweeper(fleet.context)
    sweeper.tick()
    fleet.broker.up = True
    sweeper.tick()
    assert len(fleet.broker.out) == 1, "nothing was picked while it could not be published"


def test_tasks_of_invoke_are_never_published(fleet: Fleet) -> None:
    fleet.context.publisher = None  # any use of it would raise
    Sweeper(fleet.context)._refill(
        QueueBacklog(queue="@holder", priority="default", ready=1, due=1, oldest=0.0), 0.0
    )


# ---------------------------------------------------------------- what carries them


def test_an_unexpected_error_does_not_end_the_thread(caplog: pytest.LogCaptureFixture) -> None:
    class Stumbling(Periodic):
        ticks = 0

        def tick(self) -> None:
            self.ticks += 1
            if self.ticks == 1:
                raise RuntimeError("unforeseen")
            self._stopping.set()

    thread = Stumbling(0.0)
    with caplog.at_level(logging.ERROR):
        thread.start()
        assert thread._stopped.wait(5)
    assert thread.ticks == 2
    assert "it goes on" in caplog.text

"""Heartbeat and sweep, tick by tick: outages of the store, orphaned claims, and hints that the broker lost."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from celery.worker import state

from petiole_stores.errors import StoreUnavailableError
from petiole_stores.ids import new_id
from petiole_stores.records import Outcome, QueueBacklog, SweepReport, TaskRef, Worker
from petiole_workers.board import Board, Posted, Seat, TakenOverError
from petiole_workers.celery import sweeper as sweeping
from petiole_workers.celery.heartbeat import Heartbeat
from petiole_workers.celery.overseer import SlotWatch
from petiole_workers.celery.sweeper import Sweeper
from petiole_workers.celery.threads import Periodic
from tests.unit.engine.bench import HOLDER, Bench, chain, says
from tests.unit.worker.contexts import context_on


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


class Worked:
    def __init__(self, folder: Path) -> None:
        self.bench = Bench(chain(a=says("a")))
        self.broker = Broker()
        self.away = False
        self.board = Board(4)
        store = self.bench.store
        for name in ("_beat", "_sweep", "_due"):
            setattr(store, name, self.unless_away(getattr(store, name)))
        self.context: Any = context_on(
            self.bench, self.broker, self.board, pool="threads", data_dir=str(folder)
        )
        self.described = Worker(worker_id=HOLDER, name=HOLDER, lease=15.0)

    def unless_away(self, operation: Any) -> Any:
        def checked(*args: Any) -> Any:
            if self.away:
                raise StoreUnavailableError("cut")
            return operation(*args)

        return checked


@pytest.fixture
def fleet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Worked:
    monkeypatch.setattr(state, "active_requests", set())
    monkeypatch.setattr(state, "reserved_requests", set())
    return Worked(tmp_path)


# ---------------------------------------------------------------- heartbeat


def test_an_outage_is_said_once_and_so_is_its_end(fleet: Worked, caplog: pytest.LogCaptureFixture) -> None:
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
    fleet: Worked, caplog: pytest.LogCaptureFixture
) -> None:
    heart = Heartbeat(fleet.context, fleet.described)
    fleet.bench.now += 20
    fleet.bench.store.sweep()
    heart.tick()
    assert "it had run out" in caplog.text


def test_claims_that_nobody_works_on_are_given_back_at_the_second_look(fleet: Worked) -> None:
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
def test_a_worker_with_work_keeps_its_claims(busy: str, fleet: Worked) -> None:
    fleet.bench.submit()
    fleet.bench.store.claim(HOLDER, "1", [(fleet.bench.hint().task_id, "token")])
    heart = Heartbeat(fleet.context, fleet.described)
    heart.tick()
    getattr(state, busy).add("request")
    heart.tick()
    getattr(state, busy).clear()
    heart.tick()
    assert fleet.broker.out == [], "it was not idle at two looks in a row"


def at_work(fleet: Worked, *, claimed: bool = True, token: str = "token") -> tuple[Seat, str]:
    """A slot that is at the task of a new run, and the run."""
    run_id = fleet.bench.submit(thread_id=new_id())
    hint = fleet.bench.hint()
    fleet.bench.store.claim(HOLDER, token, [(hint.task_id, token)])
    seat = fleet.board.take()
    ref = TaskRef(
        task_id=hint.task_id, run_id=run_id, thread_id=hint.thread_id, queue="petiole", priority="default", graph="g",
        node="a",
    )  # fmt: skip
    seat.begin(Posted(slot=token, ref=ref, claimed=claimed))
    return seat, run_id


@pytest.mark.parametrize("claimed", [True, False])
def test_a_beat_tells_the_slots_whose_run_is_over(
    claimed: bool, fleet: Worked, caplog: pytest.LogCaptureFixture
) -> None:
    state.active_requests.add("request")
    (wanted, _), (unwanted, run_id) = (
        at_work(fleet, claimed=claimed),
        at_work(fleet, claimed=claimed, token="2"),
    )
    heart = Heartbeat(fleet.context, fleet.described)
    heart.tick()
    assert not unwanted.cancelled
    fleet.bench.store.cancel([run_id])
    heart.tick()
    heart.tick()
    assert (wanted.cancelled, unwanted.cancelled) == (False, True)
    assert caplog.text.count("no longer wanted") == 1


def test_a_task_that_began_after_the_beat_was_sent_is_not_judged_by_it(fleet: Worked) -> None:
    heart = Heartbeat(fleet.context, fleet.described)
    beat = fleet.bench.store._beat
    seats = []

    def then_claim(*args: Any) -> Any:
        answer = beat(*args)
        seats.append(at_work(fleet)[0])
        return answer

    fleet.bench.store._beat = then_claim  # type: ignore[method-assign]
    heart.tick()
    assert not seats[0].cancelled


def test_a_beat_brings_what_the_slots_have_counted(fleet: Worked) -> None:
    seat, _ = at_work(fleet)
    seat.count("refused")
    seat.count("committed", 3)
    Heartbeat(fleet.context, fleet.described, lost_slots=lambda: 2).tick()
    [worker] = fleet.bench.store.list_workers()
    stats = worker.stats
    assert (stats["refused"], stats["committed"], stats["busy"], stats["lost_slots"]) == (1, 3, 1, 2)


# ---------------------------------------------------------------- slots that cannot be ended


def test_a_node_past_its_timeout_is_fenced_and_its_slot_is_lost_until_it_returns(
    fleet: Worked, caplog: pytest.LogCaptureFixture
) -> None:
    seat, run_id = at_work(fleet)
    [sight] = fleet.board.look()
    outcome = Outcome(
        task_id=sight.posted.ref.task_id, token="token", ending="failed", error='{"type": "T", "message": "m"}',
        advance_id="a", advance_token="at",
    )  # fmt: skip
    watch = SlotWatch(fleet.context, fleet.board)
    limit = seat.limit(0.0, outcome)
    limit.__enter__()
    watch.tick()
    watch.tick()
    assert fleet.bench.run(run_id).status == "failed"
    assert watch.lost == 1
    with pytest.raises(TakenOverError):
        limit.__exit__(None, None, None)
    seat.end()
    watch.tick()
    assert watch.lost == 0
    assert caplog.text.count("its slot is lost") == 1
    assert fleet.board.counts()["failed"] == 1


def test_a_timeout_is_committed_when_the_store_is_back(
    fleet: Worked, monkeypatch: pytest.MonkeyPatch
) -> None:
    seat, run_id = at_work(fleet)
    [sight] = fleet.board.look()
    outcome = Outcome(task_id=sight.posted.ref.task_id, token="token", ending="retry")
    store = fleet.bench.store
    monkeypatch.setattr(store, "_finish", fleet.unless_away(store._finish))
    watch = SlotWatch(fleet.context, fleet.board)
    fleet.away = True
    with pytest.raises(TakenOverError), seat.limit(0.0, outcome):
        watch.tick()
    seat.end()
    fleet.away = False
    watch.tick()
    [task] = store.list_tasks(run_id)
    assert (task.status, task.failures) == ("ready", 1)
    assert [ref.task_id for ref in fleet.broker.out] == [task.task_id]


# ---------------------------------------------------------------- sweep


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    now = SimpleNamespace(at=0.0)
    monkeypatch.setattr(sweeping, "time", SimpleNamespace(monotonic=lambda: now.at))
    return now


def test_nobody_is_declared_dead_before_a_whole_lease_was_watched(
    fleet: Worked, clock: SimpleNamespace
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
    fleet: Worked, clock: SimpleNamespace
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


def test_an_empty_queue_is_refilled_after_its_settling_time(fleet: Worked) -> None:
    fleet.bench.submit()
    sweeper = Sweeper(fleet.context)
    sweeper.tick()
    assert fleet.broker.out == [], "it was published just now, and somebody may have taken it"
    fleet.bench.now += sweeping.SETTLING + 0.1
    sweeper.tick()
    sweeper.tick()
    assert len(fleet.broker.out) == 1, "and it is not published a second time at once"


def test_only_what_the_queue_lacks_is_published(fleet: Worked) -> None:
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


def test_a_large_backlog_is_published_in_batches(fleet: Worked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweeping, "BATCH", 2)
    for number in range(5):
        fleet.bench.submit(thread_id=f"t{number}")
    fleet.bench.now += 60
    Sweeper(fleet.context).tick()
    assert len({ref.task_id for ref in fleet.broker.out}) == 5


def test_a_broker_that_is_down_is_asked_again_at_the_next_sweep(fleet: Worked) -> None:
    fleet.bench.submit()
    fleet.bench.now += 60
    fleet.broker.up = False
    sweeper = Sweeper(fleet.context)
    sweeper.tick()
    fleet.broker.up = True
    sweeper.tick()
    assert len(fleet.broker.out) == 1, "nothing was picked while it could not be published"


def test_tasks_of_invoke_are_never_published(fleet: Worked) -> None:
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

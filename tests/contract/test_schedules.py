"""Schedules on every store: each due time gives one run, whoever sweeps and whoever dies where."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from petiole.client import Client
from petiole_stores import crashpoints
from petiole_stores.errors import ConflictError, CorruptionError, InputError, NotFoundError, ThreadBusyError
from petiole_stores.items import NewItem
from petiole_stores.records import TaskRef
from petiole_stores.store import Store
from petiole_workers.fitting import Fleet
from petiole_workers.schedules import book
from petiole_workers.schedules.book import ROOT
from petiole_workers.schedules.firing import Firer
from petiole_workers.settings import Settings


class Bench:
    """One test's schedules on a store under a clock of its own."""

    def __init__(self, store: Store) -> None:
        self.store, self.now = store, 2_000_000_000.0
        store.clock = lambda: self.now
        self.client = Client(store, settings=Settings())
        self.client.publish = lambda refs: None  # type: ignore[method-assign]
        self.name = f"s{uuid.uuid4().hex[:12]}"
        self.published: list[TaskRef] = []

    def create(self, every: float = 60.0, **options: Any) -> None:
        self.client.create_schedule(self.name, "nobody.serves", {"n": 1}, every=every, **options)

    def sweep(self, seconds: float = 0.0) -> int:
        self.now += seconds
        return Firer(self.store, Fleet(self.store), "petiole", self.published.extend).fire_due(self.now)

    @property
    def times(self) -> list[float]:
        """The due times that have runs, in seconds from the anchor, oldest first."""
        runs = self.client.list_runs(tag=f"schedule:{self.name}")
        return sorted((run.run_at or run.created_at) - 2_000_000_000.0 for run in runs)


class DiedError(BaseException):
    """Stands for SIGKILL."""


class DieAt:
    def __init__(self, point: str) -> None:
        self.point, self.died = point, False

    def reach(self, point: str) -> None:
        if point == self.point and not self.died:
            self.died = True
            raise DiedError


@pytest.fixture
def bench(store: Store) -> Iterator[Bench]:
    made = Bench(store)
    yield made
    crashpoints.arm(None)
    made.client.delete_schedule(made.name)


def test_each_time_gives_a_run_that_names_its_schedule(bench: Bench) -> None:
    bench.create(tags=["nightly"], metadata={"by": "ann"}, deadline=30.0)
    assert bench.sweep(59.0) == 0
    assert bench.sweep(2.0) == 1
    assert bench.sweep() == 0
    assert bench.sweep(60.0) == 1
    newest, first = bench.client.list_runs(tag="nightly", graph="nobody.serves")
    assert first.tags == ["nightly", f"schedule:{bench.name}"]
    assert newest.thread_id != first.thread_id
    assert bench.client.get_run(first.run_id).metadata.count("2033-05-18T03:34:20.000+00:00") == 1
    kept = bench.client.get_schedule(bench.name)
    assert (kept.fired, kept.next_at) == (2, 2_000_000_180.0)
    assert kept.last is not None
    assert (kept.last.result, kept.last.run_id) == ("submitted", newest.run_id)
    assert len(bench.published) == 2


def test_many_sweepers_at_once(bench: Bench) -> None:
    bench.create(every=1.0, missed="all")
    bench.now += 20.5
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: bench.sweep(), range(8)))
    assert bench.times == [float(at) for at in range(1, 21)]
    kept = bench.client.get_schedule(bench.name)
    assert (kept.fired, kept.revision) == (20, 2)


@pytest.mark.parametrize("point", ["submit.before", "submit.after", "put_items.before", "put_items.after"])
def test_a_sweeper_dies_beside_the_submit_or_the_move(bench: Bench, point: str) -> None:
    bench.create(every=60.0)
    died = DieAt(point)
    crashpoints.arm(died)
    with pytest.raises(DiedError):
        bench.sweep(61.0)
    assert died.died
    bench.sweep(1.0)
    bench.sweep(60.0)
    assert bench.times == [60.0, 120.0]
    assert bench.client.get_schedule(bench.name).fired == 2


def test_a_change_between_submit_and_move_doubles_nothing(bench: Bench) -> None:
    bench.create()
    crashpoints.arm(DieAt("put_items.before"))
    with pytest.raises(DiedError):
        bench.sweep(61.0)
    bench.client.update_schedule(bench.name, graph="another", input={"n": 2})
    assert bench.sweep() == 1, "the run is there already, which is as good"
    assert bench.times == [60.0]


def test_a_busy_thread_is_recorded_and_stops_nothing(bench: Bench) -> None:
    thread = f"t{bench.name}"
    bench.create(thread_id=thread)
    assert [bench.sweep(61.0), bench.sweep(60.0)] == [1, 0]
    kept = bench.client.get_schedule(bench.name)
    assert kept.last is not None
    assert (kept.last.result, kept.fired, kept.next_at) == ("refused", 1, 2_000_000_180.0)
    assert thread in (kept.last.error or "")
    with pytest.raises(ThreadBusyError):
        bench.client.trigger_schedule(bench.name)
    bench.client.update_schedule(bench.name, if_busy="enqueue")
    assert bench.sweep(60.0) == 1
    bench.client.update_schedule(bench.name, if_busy="interrupt")
    assert bench.sweep(60.0) == 1
    statuses = [run.status for run in bench.client.list_runs(thread_id=thread)]
    assert statuses == ["queued", "cancelled", "cancelled"]


def test_one_that_cannot_be_submitted_stops_no_other(bench: Bench) -> None:
    bench.create()
    other = f"{bench.name}-other"
    bench.client.create_schedule(other, "g", {"n": 1}, every=60.0)
    [broken] = [one for one in bench.client.list_schedules() if one.name == bench.name]
    book.replace_schedule(bench.store, broken, type(broken)(**{**fields(broken), "input": "no document"}))
    assert bench.sweep(61.0) == 1
    kept = bench.client.get_schedule(bench.name)
    assert kept.last is not None
    assert (kept.last.result, kept.fired) == ("failed", 0)
    assert kept.last.error
    assert bench.client.delete_schedule(other)


def test_one_that_cannot_be_read_stops_no_other_and_can_be_deleted(bench: Bench) -> None:
    bench.create()
    odd = f"odd-{bench.name}"
    bench.client.create_schedule(odd, "nobody.serves", {}, every=60.0)
    [kept] = bench.store.search_items((*ROOT, odd))
    bench.store.put_items([NewItem(kept.namespace, kept.key, '{"name": 7}')])
    assert bench.sweep(61.0) == 1
    assert odd not in [one.name for one in bench.client.list_schedules()]
    assert f"petiole schedule delete {odd}" in bench.client.damaged_schedules()[odd]
    with pytest.raises(CorruptionError, match=odd):
        bench.client.get_schedule(odd)
    assert bench.client.delete_schedule(odd)
    assert odd not in bench.client.damaged_schedules()


def fields(one: Any) -> dict[str, Any]:
    return {name: getattr(one, name) for name in one.__struct_fields__}


def test_pause_unpause_trigger_delete(bench: Bench) -> None:
    bench.create(paused=True)
    assert bench.sweep(100.0) == 0
    handle = bench.client.trigger_schedule(bench.name, idempotency_key="k")
    assert bench.client.trigger_schedule(bench.name, idempotency_key="k").run_id == handle.run_id
    assert bench.client.unpause_schedule(bench.name).next_at == 2_000_000_120.0, "what was missed stays so"
    assert bench.client.pause_schedule(bench.name).status == "paused"
    bench.client.unpause_schedule(bench.name)
    assert bench.sweep(25.0) == 1
    assert bench.client.delete_schedule(bench.name)
    assert not bench.client.delete_schedule(bench.name)
    with pytest.raises(NotFoundError):
        bench.client.get_schedule(bench.name)
    assert bench.sweep(100.0) == 0
    bench.create()
    assert bench.client.get_schedule(bench.name).next_at == bench.now + 60.0
    with pytest.raises(ConflictError):
        bench.create()


def test_update_changes_what_is_given(bench: Bench) -> None:
    bench.create(max_runs=1)
    bench.sweep(61.0)
    assert bench.client.get_schedule(bench.name).status == "ended"
    more = bench.client.update_schedule(bench.name, max_runs=None)
    assert (more.status, more.next_at) == ("active", 2_000_000_120.0)
    daily = bench.client.update_schedule(bench.name, cron="0 9 * * *", timezone="Europe/Berlin")
    assert daily.timing.every is None
    assert daily.next_at == 2_000_012_400.0
    with pytest.raises(InputError):
        bench.client.update_schedule(bench.name, cron="never")
    with pytest.raises(InputError, match="colour"):
        bench.client.update_schedule(bench.name, colour="red")  # type: ignore[call-arg]


def test_whoever_is_late_changes_nothing(bench: Bench) -> None:
    bench.create()
    old = bench.client.get_schedule(bench.name)
    bench.client.pause_schedule(bench.name)
    assert book.replace_schedule(bench.store, old, old) is None
    bench.client.unpause_schedule(bench.name)
    bench.client.pause_schedule(bench.name)
    assert book.replace_schedule(bench.store, old, old) is None, (
        "its number is free again, and below the newest"
    )
    assert bench.client.get_schedule(bench.name).paused
    bench.client.delete_schedule(bench.name)
    assert book.replace_schedule(bench.store, old, old) is None
    assert bench.name not in [one.name for one in bench.client.list_schedules()]


def test_jitter_delays_the_start(bench: Bench) -> None:
    bench.create(jitter=20.0)
    bench.sweep(60.0)
    [run] = bench.client.list_runs(tag=f"schedule:{bench.name}")
    assert run.run_at is not None
    assert 60.0 <= run.run_at - 2_000_000_000.0 < 80.0
    assert run.status == "waiting"

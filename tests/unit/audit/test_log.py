"""The log: order, filters, pages while it grows, and entries that nobody can change."""

from __future__ import annotations

import logging

import pytest

from petiole.audit.entry import Entry
from petiole.audit.log import ROOT, AuditLog, Query, day_of
from petiole_stores.errors import InputError, StoreUnavailableError
from petiole_stores.memory import MemoryStore

DAY = 86400.0


class Clock:
    """A store's clock that is moved by hand."""

    now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(clock: Clock) -> MemoryStore:
    store = MemoryStore()
    store.clock = clock
    return store


@pytest.fixture
def log(store: MemoryStore) -> AuditLog:
    return AuditLog(store)


def write(log: AuditLog, clock: Clock, id: str, **fields: object) -> None:
    clock.now += 1
    given = {"actor": "key:a", "via": "api", "action": "run.cancel"} | fields
    log.write([Entry(id=id, at=clock.now, **given)])  # type: ignore[arg-type]


def ids(entries: object) -> list[str]:
    return [entry.id for entry in entries]  # type: ignore[attr-defined]


def test_entries_come_newest_first_over_days(log: AuditLog, clock: Clock) -> None:
    for number in range(3):
        write(log, clock, f"{number}a")
        write(log, clock, f"{number}b")
        clock.now += DAY
    assert ids(log.all()) == ["2b", "2a", "1b", "1a", "0b", "0a"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (Query(actor="key:b"), ["2"]),
        (Query(action="run"), ["4", "2", "1"]),
        (Query(action="run.cancel"), ["2", "1"]),
        (Query(action="ru"), []),
        (Query(thread_id="t"), ["3"]),
        (Query(result="refused"), ["4"]),
    ],
)
def test_filters(log: AuditLog, clock: Clock, query: Query, found: list[str]) -> None:
    write(log, clock, "1")
    write(log, clock, "2", actor="key:b")
    write(log, clock, "3", action="thread.delete", thread_id="t")
    write(log, clock, "4", action="run.pause", result="refused")
    assert ids(log.all(query)) == found


def test_times_bound_days_and_moments(log: AuditLog, clock: Clock) -> None:
    times = []
    for number in range(4):
        write(log, clock, str(number))
        times.append(clock.now)
        clock.now += DAY
    assert ids(log.all(Query(since=times[1], until=times[3]))) == ["2", "1"]


def test_pages_neither_repeat_nor_leave_out_while_the_log_grows(log: AuditLog, clock: Clock) -> None:
    for number in range(5):
        write(log, clock, f"old{number}")
    clock.now += DAY
    for number in range(5):
        write(log, clock, f"new{number}")
    seen: list[str] = []
    cursor: str | None = None
    for turn in range(20):
        page = log.page(limit=2, cursor=cursor)
        seen += ids(page.entries)
        write(log, clock, f"later{turn}")
        if page.next is None:
            break
        cursor = page.next
    assert seen == [*(f"new{n}" for n in (4, 3, 2, 1, 0)), *(f"old{n}" for n in (4, 3, 2, 1, 0))]


def test_what_is_not_to_be_seen_is_skipped(log: AuditLog, clock: Clock) -> None:
    for number in range(4):
        write(log, clock, str(number))
    page = log.page(limit=1, visible=lambda entry: entry.id in ("0", "2"))
    again = log.page(limit=1, visible=lambda entry: entry.id in ("0", "2"), cursor=page.next)
    assert ids(page.entries) + ids(again.entries) == ["2", "0"]


@pytest.mark.parametrize("cursor", ["", "%%%", "bm9uc2Vuc2U", "Mnwt", "ä"])
def test_a_cursor_of_ones_own_making_is_refused(log: AuditLog, cursor: str) -> None:
    with pytest.raises(InputError, match="cursor"):
        log.page(cursor=cursor)


def test_an_entry_is_written_once(log: AuditLog, clock: Clock) -> None:
    write(log, clock, "1", reason="first")
    clock.now -= 1
    write(log, clock, "1", reason="second")
    assert [entry.reason for entry in log.all()] == ["first"]


def test_entries_are_kept_for_as_long_as_asked(store: MemoryStore, clock: Clock) -> None:
    log = AuditLog(store, keep=DAY)
    write(log, clock, "1")
    clock.now += DAY - 10
    assert ids(log.all()) == ["1"]
    clock.now += 20
    assert ids(log.all()) == []


def test_what_the_store_cannot_take_is_in_the_process_log(
    store: MemoryStore,
    log: AuditLog,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def away(*_: object) -> None:
        raise StoreUnavailableError("the store is away")

    monkeypatch.setattr(store, "_put_items", away)
    with caplog.at_level(logging.ERROR, logger="petiole.audit"):
        write(log, clock, "1", thread_id="order-7")
    assert "order-7" in caplog.text
    assert "the store is away" in caplog.text


def test_entries_lie_by_day(store: MemoryStore, log: AuditLog, clock: Clock) -> None:
    write(log, clock, "1")
    assert store.list_namespaces(ROOT) == [(*ROOT, "2023-11-14")]
    assert day_of(-5.0) == "1970-01-01"

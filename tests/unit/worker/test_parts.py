"""Small parts of a worker: its slots, misfits, graphs by reference, documents and stored errors."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from petiole_stores.errors import ConfigurationError, CorruptionError, StoreUnavailableError
from petiole_stores.records import Blob
from petiole_workers import misfits
from petiole_workers.celery.app import context_of, make_app
from petiole_workers.context import WorkerContext
from petiole_workers.documents import BlobCache, Documents
from petiole_workers.failure import MAX_TRACEBACK, Failure, describe, ends_the_process, parse_failure
from petiole_workers.hop import Hint
from petiole_workers.registry import Registry, load_graph
from petiole_workers.settings import Settings
from tests.unit.engine.bench import Bench, State, chain, says

# ---------------------------------------------------------------- slots


@pytest.fixture
def context(tmp_path: Path) -> WorkerContext:
    from petiole_stores.opening import open_store

    url = f"sqlite:///{tmp_path / 's.db'}"
    open_store(url).close()
    registry = Registry([chain(a=says("a")).compile(name="g")])
    return context_of(make_app(Settings(store=url, broker="memory://"), registry))


def test_a_pool_process_is_one_slot_named_by_its_pid(context: WorkerContext) -> None:
    context.pool = "prefork"
    slots = []
    for _ in range(2):
        with context.runner() as runner:
            slots.append(runner.slot)
    assert slots == [str(os.getpid())] * 2


def test_threads_have_a_slot_each_and_use_it_again(context: WorkerContext) -> None:
    context.pool = "threads"
    with context.runner() as first, context.runner() as second:
        assert first.slot != second.slot
        assert first.documents is second.documents, "blobs are cached once"
    with context.runner() as third:
        assert third in (first, second)


def test_a_runner_that_raised_is_used_again(context: WorkerContext) -> None:
    with pytest.raises(ZeroDivisionError), context.runner() as first:
        raise ZeroDivisionError
    with context.runner() as second:
        assert second is first


def test_a_fork_opens_a_store_of_its_own(context: WorkerContext, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = context.store
    assert context.store is mine
    with context.runner():
        pass
    context._lock.acquire()  # as a thread of the parent may have held it
    monkeypatch.setattr(context, "_pid", -1)
    monkeypatch.setattr(context, "_lock_pid", -1)
    assert context.store is not mine
    assert context._idle == []


def test_one_store_is_opened_however_many_ask(context: WorkerContext) -> None:
    seen: list[object] = []
    gate = threading.Barrier(4)

    def ask() -> None:
        gate.wait()
        seen.append(context.store)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(map(id, seen))) == 1


# ---------------------------------------------------------------- misfits


def test_foreign_tasks_are_left_and_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(misfits, "_said", {})
    bench = Bench(chain(a=says("a")))
    run_id = bench.submit()
    hint = bench.hint()
    for _ in range(2):
        misfits.note_misfits(bench.store, [(hint, "graph 'g' is not served")])
    [task] = bench.store.list_tasks(run_id)
    assert (task.status, task.next_publish) == ("ready", bench.now + misfits.DELAY)
    assert bench.store.due(published_before=bench.now) == [], "an empty queue does not bring it back sooner"
    assert [record.message[:28] for record in caplog.records] == ["graph 'g' is not served by t"]


def test_a_store_that_is_away_does_not_keep_the_job_s_other_tasks(
    context: WorkerContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(misfits, "_said", {})

    def away(*args: Any) -> None:
        raise StoreUnavailableError("cut")

    monkeypatch.setattr(context.store, "_postpone", away)
    context.holder = "h"
    context.store.beat(context.description("w", 1))
    foreign, mine = Hint("t", "r", "1", "other", "n"), Hint("t", "r", "2", "g", "a")
    assert context.run([foreign, mine]) == 0, "the store knows no such task; what counts is that it was asked"


# ---------------------------------------------------------------- graphs by reference


@pytest.mark.parametrize(
    ("source", "reference", "words"),
    [
        ("1/0", "refmod1", "cannot be imported: ZeroDivisionError"),
        ("x = 1", "refmod2:y", "refmod2 has no attribute 'y'"),
        ("x = 1", "refmod3:x", "is a int: name a compiled graph"),
        ("def graph(): raise KeyError('no such table')", "refmod4", "cannot be made: KeyError"),
        (
            "from petiole import StateGraph\nfrom typing import TypedDict\nN = TypedDict('N', {'n': int})\ngraph = StateGraph(N)",
            "refmod5",
            "cannot be made: GraphValidationError",
        ),
    ],
)
def test_a_graph_that_cannot_be_had_is_a_configuration_error(
    source: str, reference: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / f"{reference.partition(':')[0]}.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigurationError) as caught:
        load_graph(reference)
    assert words in str(caught.value)


def test_two_graphs_of_one_name_are_refused() -> None:
    first, second = (chain(a=says("a")).compile(name="same") for _ in range(2))
    registry = Registry([first, first])
    with pytest.raises(ConfigurationError, match="two graphs are named 'same'"):
        registry.add(second)


# ---------------------------------------------------------------- documents


def big(state: State) -> State:
    return {"log": ["x" * 200_000]}


def test_a_blob_is_fetched_once_and_one_that_was_just_written_never(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(chain(a=big, b=says("b"), c=says("c")))
    fetched: list[str] = []
    real = bench.store._get_blobs

    def get_blobs(thread_id: str, digests: Sequence[str]) -> dict[str, Blob]:
        fetched.extend(digests)
        return real(thread_id, digests)

    monkeypatch.setattr(bench.store, "_get_blobs", get_blobs)
    bench.submit()
    bench.drain()
    assert fetched == []
    head = bench.store.head("t")
    assert head is not None
    if "$blob" not in head.state:
        pytest.fail("the value is small enough to stay in the document: this test shows nothing")
    fresh = Documents(bench.store)
    for _ in range(2):
        assert len(fresh.checkpoint(head).snapshot.values["log"][0]) == 200_000
    assert len(fetched) == 1


@pytest.mark.parametrize("how", ["gone", "damaged"])
def test_a_blob_that_is_gone_or_damaged_is_said(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(chain(a=big))
    bench.submit()
    bench.drain()
    blobs = bench.store._threads["t"].blobs
    for digest, blob in list(blobs.items()):
        if how == "gone":
            del blobs[digest]
        else:
            blobs[digest] = Blob(
                digest, blob.codec, blob.data[:-1] + bytes([blob.data[-1] ^ 1]), blob.checksum
            )
    head = bench.store.head("t")
    assert head is not None
    with pytest.raises(CorruptionError):
        Documents(bench.store).checkpoint(head)


def test_a_state_that_does_not_match_its_digest_is_said() -> None:
    bench = Bench(chain(a=says("a")))
    bench.submit()
    bench.drain()
    head = bench.store.head("t")
    assert head is not None
    head.state = head.state.replace('"a"', '"z"')
    with pytest.raises(CorruptionError, match="does not match its digest"):
        Documents(bench.store).checkpoint(head)


def test_values_that_nobody_wrote_keep_their_stored_text(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(chain(a=says("a")))
    dumped: list[set[str]] = []
    serde = bench.store.serde
    real = serde.dump_values

    def dump_values(values: Any, *, thread_id: str, kept: Any) -> Any:
        dumped.append(set(values) - set(kept))
        return real(values, thread_id=thread_id, kept=kept)

    monkeypatch.setattr(serde, "dump_values", dump_values)
    bench.submit({"n": 5})
    bench.drain()
    assert dumped[-1] == {"log"}
    assert bench.values() == {"n": 5, "log": ["a"]}


def test_the_cache_keeps_within_its_limit_and_drops_what_was_used_longest_ago() -> None:
    cache = BlobCache(limit=100)

    def blob(name: str, size: int = 40) -> Blob:
        return Blob(name, "", b"x" * size, "")

    cache.put("t", [blob("a"), blob("b")])
    cache.get("t", ["a"])
    cache.put("t", [blob("c"), blob("huge", 51)])
    assert set(cache.get("t", ["a", "b", "c", "huge"])) == {"a", "c"}
    assert cache.get("other", ["a"]) == {}


# ---------------------------------------------------------------- stored errors


def test_an_error_comes_back_as_it_was_told() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    text = describe(ValueError("a\0b\ud800"), node="n", attempt=2, tries=3)
    assert parse_failure(text) == Failure(
        type="ValueError",
        message="a\\0b\\ud800",
        node="n",
        attempt=2,
        tries=3,
        traceback="ValueError: a\\0b\\ud800\n",
    )
    assert str(parse_failure(text)) == "ValueError in node 'n' (attempt 2): a\\0b\\ud800"
    mute = parse_failure(describe(Mute(), node="n", attempt=1))
    assert mute is not None
    assert mute.message == "<RuntimeError in its __str__>"
    long = parse_failure(describe(ValueError("y" * 100_000), node="n", attempt=1))
    assert long is not None
    assert len(long.traceback) <= MAX_TRACEBACK + 10
    assert parse_failure(None) is None


def test_a_failure_stored_by_the_ledger_itself_can_be_read() -> None:
    lost = parse_failure('{"type": "WorkerLost", "message": "m", "node": "n", "attempt": 5}')
    assert lost is not None
    assert lost.tries == 0


def test_orders_to_stop_are_told_from_failures() -> None:
    class Order(SystemExit):
        """As Celery's WorkerShutdown."""

    assert [ends_the_process(e) for e in (KeyboardInterrupt(), Order())] == [True] * 2
    failures = (SystemExit(1), GeneratorExit(), asyncio.CancelledError(), ValueError())
    assert [ends_the_process(e) for e in failures] == [False] * 4

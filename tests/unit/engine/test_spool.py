"""The spool: outcomes that could not reach the store are judged later as they would have been then."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from petiole_stores.errors import StoreUnavailableError
from petiole_stores.memory import MemoryStore
from petiole_stores.records import FinishAnswer, Outcome
from petiole_workers.board import Board
from petiole_workers.graph import START, RetryPolicy, Send, StateGraph
from petiole_workers.spool import BackupSpool, FileSpool, Spool, SpoolFolder, send
from tests.unit.engine.bench import HOLDER, Bench, State, chain, says

BIG = "x" * 20_000


class Away(MemoryStore):
    """A store that can be cut off."""

    away = False

    def _finish(
        self, holder: str, slot: str, outcomes: Sequence[Outcome], now: float | None
    ) -> list[FinishAnswer]:
        if self.away:
            raise StoreUnavailableError("cut off")
        return super()._finish(holder, slot, outcomes, now)


@pytest.fixture(params=["file", "backup"])
def spool(request: pytest.FixtureRequest, tmp_path: Path) -> Spool:
    return FileSpool(tmp_path / "w.db") if request.param == "file" else BackupSpool(MemoryStore(), HOLDER)


def cut_off(bench: Bench, node: str, spool: Spool, *, during: Any = None) -> Away:
    """Run a bench to where ``node``'s outcome goes into the spool."""
    store = bench.store
    assert isinstance(store, Away)
    while bench.messages[0].node != node:
        bench.runner.run([bench.hint()])
    store.away = True
    bench.runner.spool = spool
    bench.runner.run([bench.hint()])
    store.away = False
    return store


def bench_of(builder: StateGraph) -> tuple[Bench, str]:
    bench = Bench(builder, store=Away(), store_timeout=0.0)
    return bench, bench.submit()


def middle(state: State) -> State:
    calls.append("b")
    return {"log": ["b", BIG]}


calls: list[str] = []


def test_a_spooled_output_is_committed_when_the_store_answers(spool: Spool) -> None:
    calls.clear()
    bench, run_id = bench_of(chain(a=says("a"), b=middle, c=says("c")))
    cut_off(bench, "b", spool)
    assert bench.tasks(run_id)["b"].status == "claimed"
    assert len(list(spool.entries())) == 1
    report, publish = send(spool, bench.store)
    assert (report.committed, report.refused) == (1, 0)
    assert list(spool.entries()) == []
    bench.publish(publish)
    bench.drain()
    assert bench.run(run_id).status == "succeeded"
    assert bench.values()["log"] == ["a", "b", BIG, "c"]
    assert calls == ["b"], "the node is not run again"


def test_what_another_worker_has_claimed_meanwhile_is_refused(spool: Spool) -> None:
    calls.clear()
    bench, run_id = bench_of(chain(a=says("a"), b=middle, c=says("c")))
    store = cut_off(bench, "b", spool)
    store.release(HOLDER, crashed=True)
    bench.runner = bench.another(slot="2")
    bench.publish(store.due())
    bench.drain()
    report, publish = send(spool, store)
    assert (report.committed, report.refused, publish) == (0, 1, [])
    assert bench.run(run_id).status == "succeeded"
    assert calls == ["b", "b"]


def test_sending_twice_does_no_harm(spool: Spool) -> None:
    bench, _ = bench_of(chain(a=says("a"), b=middle, c=says("c")))
    store = cut_off(bench, "b", spool)
    [(_, entry)] = spool.entries()
    assert entry is not None
    send(spool, store)
    spool.put(entry)
    report, _ = send(spool, store)
    assert (report.already, report.committed) == (1, 0)


def test_a_store_that_goes_away_again_leaves_the_spool_as_it_is(spool: Spool) -> None:
    bench, _ = bench_of(chain(a=says("a"), b=middle))
    store = cut_off(bench, "b", spool)
    store.away = True
    with pytest.raises(StoreUnavailableError):
        send(spool, store)
    assert len(list(spool.entries())) == 1


def test_the_last_joiners_advance_is_left_to_others(spool: Spool) -> None:
    builder = StateGraph(State)
    builder.add_node("part", lambda n: {"log": [str(n)]})
    builder.add_node("last", says("last"))
    builder.add_conditional_edges(START, lambda state: [Send("part", n) for n in range(2)], ["part"])
    builder.add_edge("part", "last")
    bench, run_id = bench_of(builder)
    bench.runner.run([bench.hint()])
    bench.runner.run([bench.hint()])
    cut_off(bench, "part", spool)
    _, publish = send(spool, bench.store)
    bench.publish(publish)
    bench.runner = bench.another(slot="2")
    bench.drain()
    assert bench.run(run_id).status == "succeeded"
    assert bench.values()["log"] == ["0", "1", "last"]


def test_a_failure_and_a_retry_are_spooled_too(spool: Spool) -> None:
    tries: list[int] = []

    def flaky(state: State) -> State:
        tries.append(1)
        if len(tries) == 1:
            raise ConnectionError("gone")
        return {"log": ["b"]}

    builder = StateGraph(State)
    builder.add_node("b", flaky, retry_policy=RetryPolicy(initial_interval=50, jitter=False))
    builder.add_edge(START, "b")
    bench, run_id = bench_of(builder)
    bench.runner.may_go_on = lambda claim, tasks: False  # type: ignore[method-assign]
    bench.runner.run([bench.hint()])
    cut_off(bench, "b", spool)
    send(spool, bench.store)
    assert (bench.tasks(run_id)["b"].status, bench.tasks(run_id)["b"].failures) == ("parked", 1)


@pytest.mark.parametrize("mode", ["interval:1000", "exit"])
def test_a_carried_chain_is_spooled_whole(spool: Spool, mode: str) -> None:
    bench = Bench(chain(a=says("a"), b=middle, c=says("c")), store=Away(), store_timeout=0.0)
    run_id = bench.submit(config=f'{{"durability": "{mode}"}}')
    cut_off(bench, "__start__", spool)
    [(_, entry)] = spool.entries()
    assert entry is not None
    assert len(entry.outcomes) == 4
    report, publish = send(spool, bench.store)
    assert (report.committed, publish) == (4, [])
    assert bench.run(run_id).status == "succeeded"


def test_a_damaged_entry_is_kept_aside_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spool = FileSpool(tmp_path / "w.db")
    bench, _ = bench_of(chain(a=says("a"), b=middle))
    cut_off(bench, "b", spool)
    with closing(sqlite3.connect(spool.path)) as db, db:
        db.execute("UPDATE entries SET body = substr(body, 1, 50)")
    report, _ = send(spool, bench.store)
    assert report.damaged == 1
    assert list(spool.entries()) == []
    assert len(list(tmp_path.glob("*.bad"))) == 1
    assert "damaged" in caplog.text


def test_a_spool_is_its_living_workers_alone(tmp_path: Path) -> None:
    first, second = SpoolFolder(tmp_path), SpoolFolder(tmp_path)
    assert first.hold("w1")
    assert not second.hold("w1")
    first.let_go("w1")
    assert second.hold("w1")
    second.let_go("w1")
    assert list((tmp_path / "spool").iterdir()) == []


def test_without_a_spool_the_error_is_raised() -> None:
    bench, _ = bench_of(chain(a=says("a")))
    store = bench.store
    assert isinstance(store, Away)
    store.away = True
    with pytest.raises(StoreUnavailableError):
        bench.drain()


def test_a_slot_s_next_claim_keeps_what_it_has_spooled(spool: Spool) -> None:
    """A claim ends the slot's other claims; those whose output waits in the spool it must not."""
    calls.clear()
    bench, run_id = bench_of(chain(a=says("a"), b=middle, c=says("c")))
    store = cut_off(bench, "b", spool)
    other = bench.submit(thread_id="other")
    bench.drain()
    assert bench.run(other).status == "succeeded"
    report, publish = send(spool, store)
    assert (report.committed, report.refused) == (1, 0)
    bench.publish(publish)
    bench.drain()
    assert bench.run(run_id).status == "succeeded"
    assert calls == ["b", "b"], "once in each run"
    bench.submit(thread_id="third")
    bench.drain()
    assert bench.runner._spooled == [], "it is forgotten when the spool is empty"


def test_a_commit_whose_answer_was_lost_leaves_no_claim_behind(spool: Spool) -> None:
    """The store had committed, with the next task claimed for this slot: the slot does not go on, so others must."""
    bench = Bench(chain(a=says("a"), b=says("b")), store=Away(), store_timeout=0.0, chain="inline")
    run_id = bench.submit()
    store = bench.store
    assert isinstance(store, Away)
    real = store._finish

    def commit_and_cut(*args: Any) -> Any:
        real(*args)
        raise StoreUnavailableError("the answer is lost")

    store._finish = commit_and_cut  # type: ignore[method-assign]
    bench.runner.spool = spool
    bench.runner.run([bench.hint()])
    store._finish = real  # type: ignore[method-assign]
    assert bench.tasks(run_id)["a"].status == "claimed", "claimed by the start's settle"
    report, publish = send(spool, store)
    assert (report.already, [ref.node for ref in publish]) == (1, ["a"])
    assert bench.tasks(run_id)["a"].status == "ready"
    bench.publish(publish)
    bench.drain()
    assert bench.run(run_id).status == "succeeded"


def test_the_output_of_a_node_is_kept_though_its_settle_needs_the_store(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls.clear()
    bench, run_id = bench_of(chain(a=says("a"), b=middle, c=says("c")))

    def gone(*args: Any) -> Any:
        raise StoreUnavailableError("no blobs")

    real = bench.runner.documents.fresh_values
    monkeypatch.setattr(bench.runner.documents, "fresh_values", gone)
    store = cut_off(bench, "b", spool)
    monkeypatch.setattr(bench.runner.documents, "fresh_values", real)
    _, publish = send(spool, store)
    bench.publish(publish)
    bench.drain()
    assert bench.run(run_id).status == "succeeded"
    assert calls == ["b"]


def test_while_the_store_is_gone_a_message_is_soon_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(chain(a=says("a")), store_timeout=600.0)
    bench.submit()
    board = Board(1)
    bench.runner.seat = board.take()
    tries: list[int] = []

    def gone(*args: Any) -> Any:
        tries.append(1)
        raise StoreUnavailableError("gone")

    monkeypatch.setattr(bench.store, "_claim", gone)
    board.degraded = True
    with pytest.raises(StoreUnavailableError):
        bench.runner.run([bench.hint()])
    assert len(tries) == 2


def test_what_had_ended_is_spooled_when_the_next_node_of_the_batch_finds_the_store_gone(spool: Spool) -> None:
    bench, _ = bench_of(chain(a=says("a")))
    bench.submit(thread_id="u")
    store = bench.store
    assert isinstance(store, Away)
    bench.runner._seconds[("g", START)] = 0.0
    hints = [bench.hint(), bench.hint()]
    execute = bench.runner.execute

    def then_gone(claim: Any) -> Any:
        if store.away:
            raise StoreUnavailableError("gone")
        store.away = True
        return execute(claim)

    bench.runner.execute = then_gone  # type: ignore[method-assign]
    bench.runner.spool = spool
    with pytest.raises(StoreUnavailableError):
        bench.runner.run(hints)
    assert len(list(spool.entries())) == 1


def test_a_damaged_file_is_kept_aside_and_a_new_one_begun(tmp_path: Path) -> None:
    bench, _ = bench_of(chain(a=says("a")))
    spool = FileSpool(tmp_path / "w.db")
    spool.path.write_bytes(b"no database at all" * 100)
    assert list(spool.entries()) == []
    spool.path.write_bytes(b"nor this" * 100)
    store = cut_off(bench, "__start__", spool)
    assert len(list(tmp_path.glob("w.*.bad"))) == 2
    report, _ = send(spool, store)
    assert report.committed == 1

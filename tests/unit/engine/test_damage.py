"""Damaged rows: mended where a digest proves the copy, else held back with the reason; an unfit worker harms nothing."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from msgspec.structs import replace

from petiole_stores.codec import AesGcmCodec
from petiole_stores.errors import CorruptionError
from petiole_stores.integrity import damage_of
from petiole_stores.memory import MemoryStore
from petiole_stores.records import Blob, Checkpointed
from petiole_stores.references import blobs_named
from petiole_stores.serde import Serde
from petiole_workers import documents
from petiole_workers.documents import Documents
from petiole_workers.graph import END, START, RemainingSteps, Runtime, Send, StateGraph
from petiole_workers.repair import Repair, verify
from tests.unit.engine.bench import Bench, State, chain, says

BIG = "x" * 20_000


def grow(state: State) -> dict[str, Any]:
    return {"n": state["n"] + 1, "log": [os.fsdecode(b"grow"), BIG]}


def bench_at(node: str, *, builder: StateGraph | None = None, **options: Any) -> tuple[Bench, str]:
    """A run whose next message is for ``node``."""
    bench = Bench(builder or chain(a=says("a"), b=grow, c=says("c"), d=says("d")), **options)
    run_id = bench.submit()
    while bench.messages[0].node != node:
        bench.runner.run([bench.hint()])
    bench.runner = bench.another()  # nothing is cached
    return bench, run_id


def head(bench: Bench) -> Checkpointed:
    store = bench.store
    found = store._checkpoints[store._threads["t"].heads[""].checkpoint_id or ""]
    return found


def blob_of(bench: Bench) -> Blob:
    """The blob that the newest state names."""
    [digest] = blobs_named([head(bench).state])
    return bench.store._threads["t"].blobs[digest]


def put_blob(bench: Bench, **changes: Any) -> None:
    old = blob_of(bench)
    fields = {name: getattr(old, name) for name in ("digest", "codec", "data", "checksum")}
    bench.store._threads["t"].blobs[old.digest] = Blob(**(fields | changes))


def truncated(bench: Bench) -> None:
    head(bench).state = head(bench).state[:-5]


def flipped(bench: Bench) -> None:
    head(bench).state = head(bench).state.replace('"n"', '"m"')


def other_digest(bench: Bench) -> None:
    head(bench).digest = "0" * 64


def other_next(bench: Bench) -> None:
    head(bench).next = json.dumps([{"path": "pull:d", "node": "d"}])


def broken_next(bench: Bench) -> None:
    head(bench).next = "[{"


def other_seal(bench: Bench) -> None:
    head(bench).seal = "0" * 64


def other_step(bench: Bench) -> None:
    head(bench).step += 1


def missing_blob(bench: Bench) -> None:
    del bench.store._threads["t"].blobs[blob_of(bench).digest]


def flipped_blob(bench: Bench) -> None:
    data = bytearray(blob_of(bench).data)
    data[3] ^= 1
    put_blob(bench, data=bytes(data))


def truncated_blob(bench: Bench) -> None:
    put_blob(bench, data=blob_of(bench).data[:-1])


def other_checksum(bench: Bench) -> None:
    put_blob(bench, checksum="0" * 64)


DAMAGES = [
    truncated, flipped, other_digest, other_next, broken_next, other_seal, missing_blob, flipped_blob, truncated_blob,
    other_checksum,
]  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_what_can_be_proven_is_mended_and_the_run_goes_on(damage: Callable[[Bench], None]) -> None:
    plain, _ = bench_at("c")
    plain.drain()
    bench, run_id = bench_at("c")
    before = head(bench).checkpoint_id
    damage(bench)
    assert len(list(verify(bench.store))) == 1
    bench.drain()
    assert bench.run(run_id).status == "succeeded"
    assert bench.values() == plain.values()
    assert list(verify(bench.store)) == []
    assert before in {c.checkpoint_id for c in bench.store.list_checkpoints("t")}
    assert [it.outcome for it in bench.tasks(run_id)["c"].attempts] == ["parked"]


class Counted(State, total=False):
    left: RemainingSteps


@pytest.mark.parametrize("damage", [truncated, other_next, other_digest], ids=lambda damage: damage.__name__)
def test_routers_that_decide_by_context_and_remaining_steps_prove_the_copy(
    damage: Callable[[Bench], None],
) -> None:
    def route(state: Counted, runtime: Runtime[Any], config: Any) -> str:
        by_config = config["configurable"]["to"]
        return by_config if (runtime.context["vip"], state["left"]) == (True, 6) else END

    builder = StateGraph(Counted).add_node("a", says("a")).add_node("c", says("c"))
    builder.add_edge(START, "a").add_conditional_edges("a", route, ["c", END])
    bench = Bench(builder)
    config = '{"context": {"vip": true}, "configurable": {"to": "c"}, "recursion_limit": 7}'
    run_id = bench.submit(config=config)
    while bench.messages[0].node != "c":
        bench.runner.run([bench.hint()])
    bench.runner = bench.another()
    damage(bench)
    bench.drain()
    assert bench.run(run_id).status == "succeeded"
    assert bench.values()["log"] == ["a", "c"]


def test_several_damaged_ancestors_are_mended_one_after_the_other() -> None:
    bench, run_id = bench_at("d")
    for record in bench.store.list_checkpoints("t"):
        if record.source == "loop":
            record.state = record.state[:-3]
    bench.drain()
    assert bench.run(run_id).status == "succeeded"
    assert list(verify(bench.store)) == []


@pytest.mark.parametrize("damage", [truncated, other_next], ids=lambda damage: damage.__name__)
def test_a_fan_outs_base_is_mended_by_whichever_branch_sees_it(damage: Callable[[Bench], None]) -> None:
    def build() -> StateGraph:
        builder = StateGraph(State)
        builder.add_node("first", lambda state: {"log": ["first", BIG]})
        builder.add_node("part", lambda n: {"log": [str(n)]})
        builder.add_node("last", says("last"))
        builder.add_edge(START, "first")
        builder.add_conditional_edges("first", lambda state: [Send("part", n) for n in range(3)], ["part"])
        builder.add_edge("part", "last")
        return builder

    bench, run_id = bench_at("part", builder=build())
    damage(bench)
    bench.drain()
    assert bench.run(run_id).status == "succeeded"
    assert [entry for entry in bench.values()["log"] if entry != BIG] == ["first", "0", "1", "2", "last"]


# ---------------------------------------------------------------- beyond repair


def beyond_repair(bench: Bench) -> None:
    """State and both digests of it are gone: nothing proves a copy."""
    record = head(bench)
    record.state, record.digest = '{"n":99}', "0" * 64


def test_what_cannot_be_proven_holds_the_run_back_with_the_reason() -> None:
    bench, run_id = bench_at("c")
    beyond_repair(bench)
    bench.drain()
    run = bench.run(run_id)
    assert run.status == "blocked"
    assert run.reason is not None
    assert "does not match its digest" in run.reason
    assert json.loads(run.reason)["type"] == "Corruption"
    assert head(bench).quarantined
    assert bench.tasks(run_id)["c"].status == "ready"
    assert [finding.quarantined for finding in verify(bench.store)] == [True]


def missing_checkpoint(bench: Bench) -> None:
    del bench.store._checkpoints[head(bench).checkpoint_id]


def test_a_missing_checkpoint_holds_the_run_back() -> None:
    bench, run_id = bench_at("c")
    missing_checkpoint(bench)
    bench.drain()
    run = bench.run(run_id)
    assert (run.status, run.reason is not None and "missing" in run.reason) == ("blocked", True)
    assert [finding.kind for finding in verify(bench.store)] == ["head"]


def test_a_damaged_timeout_of_a_task_holds_the_run_back() -> None:
    graph = StateGraph(State).add_node("a", says("a"))
    graph.add_conditional_edges(START, lambda state: [Send("a", {}, timeout=60), Send("a", {})])
    bench, run_id = bench_at("a", builder=graph)
    [limited] = [task for task in bench.store._tasks.values() if task.timeout]
    limited.timeout = '{"run_timeout":"long"}'
    bench.drain()
    run = bench.run(run_id)
    assert run.status == "blocked"
    assert run.reason is not None
    assert "timeout" in run.reason


def test_a_graph_that_gives_something_else_today_proves_nothing() -> None:
    bench, run_id = bench_at("c")
    head(bench).state = head(bench).state[:-5]
    changed = StateGraph(State)
    for name in "abcd":
        changed.add_node(name, says(name))
    changed.add_edge(START, "a")
    bench.graph = changed.compile(name="g")
    bench.runner = bench.another()
    bench.drain()
    assert bench.run(run_id).status == "blocked"
    assert "another digest" in (bench.run(run_id).reason or "")


def test_by_request_the_run_goes_on_from_a_sound_ancestor() -> None:
    bench, run_id = bench_at("c", on_corruption="parent")
    beyond_repair(bench)
    bench.drain()
    assert bench.run(run_id).status == "cancelled"
    newest = bench.store.newest_run("t")
    assert newest is not None
    assert (newest.run_id != run_id, newest.status) == (True, "succeeded")
    assert [entry for entry in bench.values()["log"] if entry != BIG] == ["a", "grow", "c", "d"]


def test_invoke_raises_what_it_cannot_mend() -> None:
    store = MemoryStore()
    graph = chain(a=says("a"), b=says("b")).compile(store, interrupt_before=["b"])
    config = {"configurable": {"thread_id": "t"}}
    graph.invoke({"n": 0}, config)
    record = store._checkpoints[store._threads["t"].heads[""].checkpoint_id or ""]
    record.state, record.digest = "{}", "0"
    with pytest.raises(CorruptionError, match="digest"):
        graph.invoke(None, config)


# ---------------------------------------------------------------- an unfit worker


@dataclass
class Owned:
    """A class that one worker knows and the other does not."""

    number: int


def test_a_worker_without_the_key_gives_the_task_back_and_quarantines_nothing() -> None:
    store = MemoryStore()
    store.serde = Serde(codec=AesGcmCodec({"new": b"k" * 32}))
    bench, run_id = bench_at("c", store=store)
    right = store.serde
    store.serde = Serde(codec=AesGcmCodec({"other": b"z" * 32}))
    bench.runner = bench.another()
    bench.runner.run([bench.hint()])
    task = bench.tasks(run_id)["c"]
    assert (task.status, task.failures, bench.run(run_id).status) == ("parked", 0, "running")
    assert "the key 'new'" in (task.attempts[-1].error or "")
    assert all(record.quarantined is None for record in store.list_checkpoints("t"))
    assert "g" in bench.runner.unfit
    store.serde = right
    bench.runner = bench.another()
    bench.now += 3
    store.sweep()
    bench.publish(store.due())
    bench.drain()
    assert bench.run(run_id).status == "succeeded"


def test_an_unfit_worker_takes_no_more_of_that_graph() -> None:
    store = MemoryStore()
    store.serde = Serde(codec=AesGcmCodec({"new": b"k" * 32}))
    bench, _ = bench_at("c", store=store)
    second = bench.submit(thread_id="t2")
    store.serde = Serde()
    bench.runner = bench.another()
    for _ in range(2):
        bench.runner.run([bench.hint()])
    assert bench.tasks(second)["__start__"].attempt == 0


def test_db_verify_repairs_without_a_run() -> None:
    bench, _ = bench_at("d")
    records = bench.store.list_checkpoints("t")
    records[1].state = "{"
    documents = Documents(bench.store)
    repair = Repair(bench.store, documents, bench.graph.definition)
    assert repair.mend(records[1]) is None
    assert list(verify(bench.store)) == []


def test_a_checkpoint_of_a_subgraph_is_mended() -> None:
    inner = StateGraph(State)
    for name in ("one", "two"):
        inner.add_node(name, says(name))
    inner.add_edge(START, "one").add_edge("one", "two")
    outer = StateGraph(State).add_node("inner", inner.compile()).add_edge(START, "inner")
    store = MemoryStore()
    graph = outer.compile(store)
    graph.invoke({"n": 0}, {"configurable": {"thread_id": "t"}})
    below = [record for record in store.list_checkpoints("t", ns=None) if record.ns]
    assert [record.source for record in below] == ["loop", "loop", "loop", "input"]
    repair = Repair(store, Documents(store), graph.definition)
    for record in below[:3]:
        store._checkpoints[record.checkpoint_id] = replace(record, state='{"log":["other"]}')
        assert repair.mend(store._checkpoints[record.checkpoint_id]) is None
        mended = store.get_checkpoint(record.checkpoint_id)
        assert mended is not None
        assert (mended.state, mended.ns, mended.seal) == (record.state, record.ns, record.seal)
    first = below[3]
    store._checkpoints[first.checkpoint_id] = replace(first, state='{"log":["other"]}')
    why = repair.mend(store._checkpoints[first.checkpoint_id])
    assert why is not None
    assert "what a node of the graph around it was given" in why


def test_a_fan_outs_base_is_digested_once_and_not_with_each_branch(monkeypatch: pytest.MonkeyPatch) -> None:
    digested: list[str] = []

    def count(record: Checkpointed) -> str | None:
        digested.append(record.checkpoint_id)
        return damage_of(record)

    monkeypatch.setattr(documents, "damage_of", count)
    graph = StateGraph(State).add_node("branch", lambda arg: {"log": [arg["number"]]})
    graph.add_conditional_edges(
        START, lambda state: [Send("branch", {"number": f"{n:0100d}"}) for n in range(60)]
    )
    store = MemoryStore()
    compiled = graph.compile(store)
    compiled.invoke({"n": 0}, {"configurable": {"thread_id": "t"}, "max_concurrency": 1})
    base = next(it.checkpoint_id for it in store.list_checkpoints("t") if it.step == 0)
    assert digested.count(base) == 1
    wide = store._checkpoints[base]
    again = Documents(store)
    assert again.checkpoint(wide).record == wide
    with pytest.raises(CorruptionError, match="seal"):
        again.checkpoint(replace(wide, next=wide.next.replace("branch", "brunch", 1)))

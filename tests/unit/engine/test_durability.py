"""How much of a run a worker carries before it commits, and what is lost then: at most what each mode's line says."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import pytest

from petiole_stores.errors import ConfigurationError
from petiole_stores.memory import MemoryStore
from petiole_workers.durability import PRESETS, Durability, Measured, preset
from petiole_workers.graph import START, Runtime, Send, StateGraph
from tests.unit.engine.bench import HOLDER, Bench, State, chain

CARRYING = ["interval:1000", "adaptive", "exit", "async"]


class Counting(MemoryStore):
    """Counts the finishes that reach it."""

    def __init__(self) -> None:
        super().__init__()
        self.finishes: list[int] = []

    def _finish(self, holder: str, slot: str, outcomes: Any, now: float | None) -> Any:
        self.finishes.append(len(outcomes))
        return super()._finish(holder, slot, outcomes, now)


def counted(calls: Counter[str], keys: list[str], *, die_at: str = "") -> StateGraph:
    """Six nodes that count their calls; the one named dies with the process at its first call."""

    def node(name: str) -> Any:
        def run(state: State, runtime: Runtime) -> State:
            calls[name] += 1
            keys.append(f"{name} {runtime.idempotency_key}")
            if name == die_at and calls[name] == 1:
                raise KeyboardInterrupt
            return {"log": [name]}

        return run

    return chain(**{name: node(name) for name in "abcdef"})


def config(mode: str) -> str:
    return f'{{"durability": "{mode}"}}'


@pytest.mark.parametrize("mode", CARRYING)
def test_a_carried_run_ends_as_any_other(mode: str) -> None:
    plain, carried = Bench(counted(Counter(), [])), Bench(counted(Counter(), []), store=Counting())
    runs = [bench.submit(config=config(it)) for bench, it in ((plain, "sync"), (carried, mode))]
    for bench in (plain, carried):
        bench.drain()
    assert carried.run(runs[1]).status == "succeeded"
    assert carried.values() == plain.values()
    shown = [
        [(c.step, c.source, c.node_names, c.state) for c in bench.store.list_checkpoints("t")]
        for bench in (plain, carried)
    ]
    assert shown[0] == shown[1]
    assert [t.status for t in carried.store.list_tasks(runs[1])] == ["done"] * 7


@pytest.mark.parametrize("mode", ["interval:1000", "exit"])
def test_one_commit_for_the_whole_of_a_chain(mode: str) -> None:
    store = Counting()
    bench = Bench(counted(Counter(), []), store=store)
    bench.submit(config=config(mode))
    bench.drain()
    assert store.finishes == [7]
    assert not bench.messages


def test_an_interval_that_is_over_commits() -> None:
    store = Counting()
    bench = Bench(counted(Counter(), []), store=store)
    bench.submit(config=config("interval:0.0000001"))
    bench.drain()
    assert sum(store.finishes) == 7
    assert len(store.finishes) > 2


@pytest.mark.parametrize(("mode", "again"), [("interval:1000", "abcde"), ("exit", "abcde"), ("sync", "e")])
def test_a_crash_runs_the_carried_nodes_again_with_their_keys(mode: str, again: str) -> None:
    calls: Counter[str] = Counter()
    keys: list[str] = []
    bench = Bench(counted(calls, keys, die_at="e"))
    run_id = bench.submit(config=config(mode))
    with pytest.raises(KeyboardInterrupt):
        bench.drain()
    bench.store.release(HOLDER, crashed=True)
    bench.runner = bench.another(slot="2")
    bench.publish(bench.store.due())
    bench.drain()
    assert bench.run(run_id).status == "succeeded"
    assert bench.values()["log"] == list("abcdef")
    assert {name for name, count in calls.items() if count == 2} == set(again)
    assert len(set(keys)) == 6, "a repeated node has the key that it had"


@pytest.mark.parametrize("mode", CARRYING)
def test_a_failure_keeps_what_came_before_it(mode: str) -> None:
    broken = True

    def last(state: State) -> State:
        if broken:
            raise ValueError("broken")
        return {"log": ["last"]}

    calls: Counter[str] = Counter()
    builder = counted(calls, [])
    builder.add_node("last", last)
    builder.add_edge("f", "last")
    bench = Bench(builder)
    run_id = bench.submit(config=config(mode))
    bench.drain()
    assert bench.run(run_id).status == "failed"
    broken = False
    bench.publish(bench.store.replay(run_id, [(bench.tasks(run_id)["last"].task_id, "again")]).publish)
    bench.drain()
    assert bench.values()["log"] == [*"abcdef", "last"]
    assert set(calls.values()) == {1}


@pytest.mark.parametrize("mode", CARRYING)
def test_a_fan_out_and_its_join_are_committed(mode: str) -> None:
    builder = StateGraph(State)
    builder.add_node("first", lambda state: {"log": ["first"]})
    builder.add_node("part", lambda n: {"log": [str(n)]})
    builder.add_node("last", lambda state: {"log": ["last"]})
    builder.add_edge(START, "first")
    builder.add_conditional_edges("first", lambda state: [Send("part", n) for n in range(3)], ["part"])
    builder.add_edge("part", "last")
    bench = Bench(builder)
    bench.submit(config=config(mode))
    bench.drain()
    assert bench.values()["log"] == ["first", "0", "1", "2", "last"]


@pytest.mark.parametrize("mode", CARRYING)
def test_a_sleep_commits_what_came_before_it(mode: str) -> None:
    calls: Counter[str] = Counter()
    builder = counted(calls, [])

    def nap(state: State, runtime: Runtime) -> State:
        runtime.sleep(1000)
        return {"log": ["nap"]}

    builder.add_node("nap", nap)
    builder.add_edge("f", "nap")
    bench = Bench(builder)
    run_id = bench.submit(config=config(mode))
    bench.drain()
    assert bench.tasks(run_id)["nap"].status == "parked"
    bench.now += 1001
    bench.beat()
    bench.store.sweep()
    bench.publish(bench.store.due())
    bench.drain()
    assert bench.values()["log"] == [*"abcdef", "nap"]
    assert set(calls.values()) == {1}


@pytest.mark.parametrize("mode", CARRYING)
def test_a_paused_run_stops_at_a_commit_and_loses_nothing(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("petiole_workers.carry.LOOK", 0.0)
    calls: Counter[str] = Counter()
    builder = counted(calls, [])

    def pausing(state: State, runtime: Runtime) -> State:
        bench.store.pause([runtime.run_id])
        return {"log": ["pausing"]}

    ran: list[int] = []

    def counted_pausing(state: State, runtime: Runtime) -> State:
        ran.append(1)
        return pausing(state, runtime)

    builder.add_node("pausing", counted_pausing)
    builder.add_node("last", lambda state: {"log": ["last"]})
    builder.add_edge("f", "pausing")
    builder.add_edge("pausing", "last")
    bench = Bench(builder)
    run_id = bench.submit(config=config(mode))
    bench.drain()
    assert bench.run(run_id).status == "paused"
    # The background may still have had the node before it to save: then this one is run again once the run goes on.
    assert bench.values()["log"] in ([*"abcdef", "pausing"], [*"abcdef"] if mode == "async" else None)
    [answer] = bench.store.unpause([run_id])
    bench.publish(answer.publish)
    bench.drain()
    if bench.run(run_id).status == "paused":
        [answer] = bench.store.unpause([run_id])
        bench.publish(answer.publish)
        bench.drain()
    assert bench.values()["log"] == [*"abcdef", "pausing", "last"]
    assert set(calls.values()) == {1}
    assert len(ran) <= (2 if mode == "async" else 1)


@pytest.mark.parametrize("mode", CARRYING)
def test_a_fenced_worker_that_carries_commits_nothing(mode: str) -> None:
    calls: Counter[str] = Counter()
    builder = counted(calls, [])
    bench: Bench

    def stolen(state: State, runtime: Runtime) -> State:
        if calls["stolen"] == 0:
            calls["stolen"] += 1
            bench.store.release(HOLDER, crashed=True)
            bench.publish(bench.store.due())
            bench.another(slot="2").run([bench.hint()])
        return {"log": ["stolen"]}

    builder.add_node("stolen", stolen)
    builder.add_edge("f", "stolen")
    bench = Bench(builder)
    run_id = bench.submit(config=config(mode))
    bench.drain()
    assert bench.run(run_id).status == "succeeded"
    assert bench.values()["log"] == [*"abcdef", "stolen"]
    steps = [c.step for c in bench.store.list_checkpoints("t")]
    assert len(steps) == len(set(steps))


def test_a_heartbeat_of_a_carried_node_is_kept() -> None:
    kept: list[str | None] = []

    def long(state: State, runtime: Runtime) -> State:
        runtime.heartbeat(5)
        kept.append(bench.tasks(runtime.run_id)["long"].progress)
        return {}

    builder = counted(Counter(), [])
    builder.add_node("long", long)
    builder.add_edge("f", "long")
    bench = Bench(builder)
    bench.submit(config=config("exit"))
    bench.drain()
    assert kept[0] is not None
    assert '"details":5' in kept[0]


def test_the_background_queue_is_bounded() -> None:
    class Slow(Counting):
        def _finish(self, holder: str, slot: str, outcomes: Any, now: float | None) -> Any:
            time.sleep(0.001)
            return super()._finish(holder, slot, outcomes, now)

    def turn(state: State) -> State:
        return {"n": state["n"] + 1}

    builder = StateGraph(State)
    builder.add_node("turn", turn)
    builder.add_edge(START, "turn")
    builder.add_conditional_edges("turn", lambda state: "turn" if state["n"] < 300 else "__end__")
    store = Slow()
    bench = Bench(builder, store=store)
    bench.submit(config=config("async"))
    bench.drain()
    assert bench.values()["n"] == 300
    assert max(store.finishes) <= 65
    assert len(store.finishes) < 301


@pytest.mark.parametrize("text", ["often", "interval:", "interval:x", "interval:-1", "sync:3", ""])
def test_an_unknown_durability_is_refused(text: str) -> None:
    if text == "interval:":
        assert Durability.parse(text).interval == 30.0
        return
    with pytest.raises(ConfigurationError, match="interval:SECONDS"):
        Durability.parse(text)


def test_presets_name_modes() -> None:
    assert {name: preset(name)[0] for name in PRESETS} == {
        "strong": "sync", "eventual": "sync", "session": "sync", "minimal": "async",
    }  # fmt: skip
    with pytest.raises(ConfigurationError, match="minimal"):
        preset("none")


def test_adaptive_follows_young() -> None:
    measured = Measured()
    calm = measured.interval()
    for _ in range(50):
        measured.committed(0.2)
    dear = measured.interval()
    measured.crashes = 10_000
    assert calm < dear <= 30.0
    assert measured.interval() < calm

"""What a node asks of the engine: durable sleeps, heartbeats that the next attempt finds, handlers of its failure."""

from __future__ import annotations

import os
from typing import Any

import pytest

from petiole_stores.errors import ConfigurationError, GraphValidationError, InputError, InvalidUpdateError
from petiole_workers.failure import parse_failure
from petiole_workers.graph import END, START, Command, NodeError, RetryPolicy, Runtime, Send, StateGraph
from tests.unit.engine.bench import HOLDER, Bench, State, chain, says


def wake(bench: Bench, seconds: float) -> None:
    """Let time pass and publish what is due then."""
    bench.now += seconds
    bench.beat()
    bench.store.sweep()
    bench.publish(bench.store.due())


# ---------------------------------------------------------------- timers


def test_a_long_sleep_leaves_the_worker_and_costs_a_row() -> None:
    reached: list[str] = []

    def nap(state: State, runtime: Runtime) -> State:
        reached.append("top")
        runtime.sleep(30 * 86400)
        reached.append("after")
        return {"log": ["woke"]}

    bench = Bench(chain(nap=nap, last=says("last")))
    run_id = bench.submit()
    bench.drain()
    task = bench.tasks(run_id)["nap"]
    assert (task.status, task.token, task.failures) == ("parked", None, 0)
    assert task.run_at == pytest.approx(bench.now + 30 * 86400, abs=1)
    wake(bench, 29 * 86400)
    assert not bench.messages
    wake(bench, 86400 + 1)
    bench.drain()
    assert reached == ["top", "top", "after"]
    assert bench.values()["log"] == ["woke", "last"]
    assert [it.outcome for it in bench.tasks(run_id)["nap"].attempts] == ["parked"]


def test_sleeps_that_are_over_return_at_once_and_the_next_ones_wait() -> None:
    seen: list[int] = []

    def naps(state: State, runtime: Runtime) -> State:
        for number in range(3):
            runtime.sleep(100)
            seen.append(number)
        return {"log": [runtime.idempotency_key]}

    bench = Bench(chain(naps=naps))
    bench.submit()
    bench.drain()
    for _ in range(3):
        wake(bench, 101)
        bench.drain()
    assert seen == [0, 0, 1, 0, 1, 2]
    assert len(bench.values()["log"]) == 1


def test_a_short_sleep_is_slept_through_and_a_crash_during_a_long_one_loses_nothing() -> None:
    def nap(state: State, runtime: Runtime) -> State:
        runtime.sleep(0.001)
        runtime.sleep(50)
        return {"log": ["woke"]}

    bench = Bench(chain(nap=nap))
    run_id = bench.submit()
    bench.drain()
    assert bench.tasks(run_id)["nap"].status == "parked"
    bench.store.release(HOLDER, crashed=True, final=True)
    wake(bench, 51)
    bench.drain()
    assert bench.run(run_id).status == "succeeded"
    assert bench.tasks(run_id)["nap"].crashes == 0


async def async_nap(state: State, runtime: Runtime) -> State:
    await runtime.asleep(0.001)
    await runtime.asleep(50)
    return {"log": ["woke"]}


def test_async_nodes_sleep_too() -> None:
    bench = Bench(chain(nap=async_nap))
    run_id = bench.submit()
    bench.drain()
    assert bench.tasks(run_id)["nap"].status == "parked"
    wake(bench, 51)
    bench.drain()
    assert bench.values()["log"] == ["woke"]


def test_a_sleep_of_no_number_fails_the_node_with_its_value() -> None:
    bench = Bench(chain(nap=lambda state, runtime: runtime.sleep(-1)))
    run_id = bench.submit()
    bench.drain()
    failure = parse_failure(bench.run(run_id).error)
    assert failure is not None
    assert "-1" in failure.message


def test_a_node_that_swallows_exceptions_sleeps_all_the_same() -> None:
    def nap(state: State, runtime: Runtime) -> State:
        try:
            runtime.sleep(100)
        except Exception:  # noqa: BLE001 - what careless nodes do
            return {"log": ["swallowed"]}
        return {"log": ["slept"]}

    bench = Bench(chain(nap=nap))
    bench.submit()
    bench.drain()
    wake(bench, 101)
    bench.drain()
    assert bench.values()["log"] == ["slept"]


# ---------------------------------------------------------------- heartbeats


def test_the_next_attempt_finds_what_the_last_heartbeat_said() -> None:
    found: list[Any] = []

    def long(state: State, runtime: Runtime) -> State:
        found.append(runtime.details)
        if len(found) < 2:
            runtime.heartbeat({"done": 7, "kind": ("a", b"x")})
            raise ConnectionError("gone")
        return {"log": [str(runtime.details["done"])]}

    builder = StateGraph(State)
    builder.add_node("long", long, retry_policy=RetryPolicy(initial_interval=100, jitter=False))
    builder.add_edge(START, "long")
    bench = Bench(builder)
    bench.submit()
    bench.drain()
    wake(bench, 101)
    bench.drain()
    assert found == [None, {"done": 7, "kind": ("a", b"x")}]
    assert bench.values()["log"] == ["7"]


def test_a_heartbeat_survives_the_process_that_sent_it() -> None:
    found: list[Any] = []

    def long(state: State, runtime: Runtime) -> State:
        found.append(runtime.details)
        if len(found) == 1:
            runtime.heartbeat("x" * 10_000)  # a blob
            raise KeyboardInterrupt
        return {}

    bench = Bench(chain(long=long))
    run_id = bench.submit()
    with pytest.raises(KeyboardInterrupt):
        bench.drain()
    bench.store.release(HOLDER, crashed=True)
    wake(bench, 0)
    bench.drain()
    assert found == [None, "x" * 10_000]
    assert bench.run(run_id).status == "succeeded"


def test_a_replay_goes_on_from_the_last_details() -> None:
    broken = True

    def long(state: State, runtime: Runtime) -> State:
        if broken:
            runtime.heartbeat(41)
            raise ValueError("broken")
        return {"n": runtime.details + 1}

    bench = Bench(chain(long=long))
    run_id = bench.submit()
    bench.drain()
    broken = False
    failed = bench.tasks(run_id)["long"].task_id
    bench.publish(bench.store.replay(run_id, [(failed, "again")]).publish)
    bench.drain()
    assert bench.values()["n"] == 42


def test_details_that_are_too_large_are_refused() -> None:
    bench = Bench(chain(long=lambda state, runtime: runtime.heartbeat(os.urandom(2_000_000))))
    run_id = bench.submit()
    bench.drain()
    failure = parse_failure(bench.run(run_id).error)
    assert failure is not None
    assert failure.type.endswith(InputError.__name__)


def test_a_heartbeat_tells_a_node_whose_run_was_cancelled() -> None:
    said: list[bool] = []

    def long(state: State, runtime: Runtime) -> State:
        said.append(runtime.cancelled)
        bench.store.cancel([runtime.run_id])
        runtime.heartbeat(1)
        said.append(runtime.cancelled)
        return {}

    bench = Bench(chain(long=long))
    bench.submit()
    bench.drain()
    assert said == [False, True]


# ---------------------------------------------------------------- error handlers


def failing(state: State) -> State:
    raise ValueError("broken")


def test_a_handler_stands_in_for_a_node_that_has_failed_for_good() -> None:
    tries: list[int] = []

    def shaky(state: State) -> State:
        tries.append(1)
        raise ConnectionError("gone")

    def handle(state: State, error: NodeError) -> Command:
        return Command(update={"log": [f"{error.node}: {error.error}"]}, goto="last")

    builder = StateGraph(State)
    builder.add_node(
        "shaky", shaky, retry_policy=RetryPolicy(initial_interval=0, jitter=False), error_handler=handle
    )
    builder.add_node("skipped", says("skipped"))
    builder.add_node("last", says("last"))
    builder.add_edge(START, "shaky")
    builder.add_edge("shaky", "skipped")
    bench = Bench(builder)
    run_id = bench.submit()
    bench.drain()
    assert len(tries) == 3
    assert bench.values()["log"] == ["shaky: gone", "last"]
    task = bench.tasks(run_id)["shaky"]
    failure = parse_failure(task.error)
    assert failure is not None
    assert (task.status, failure.type, failure.attempt) == ("done", "ConnectionError", 3)


def test_a_handler_in_a_fan_out_is_joined_with_its_neighbours() -> None:
    def part(number: int) -> State:
        if number == 1:
            raise ValueError("one")
        return {"log": [str(number)]}

    def handle(number: Any, error: NodeError) -> Command:
        return Command(update={"log": ["handled"]}, goto=[Send("echo", "sent"), "last"])

    builder = StateGraph(State)
    builder.add_node("part", part, error_handler=handle)
    builder.add_node("echo", lambda text: {"log": [text]})
    builder.add_node("last", says("last"))
    builder.add_conditional_edges(START, lambda state: [Send("part", n) for n in range(3)], ["part"])
    bench = Bench(builder)
    bench.submit()
    bench.drain()
    assert bench.values()["log"] == ["0", "handled", "2", "last", "sent"]


async def broken_handler(state: State, runtime: Runtime) -> State:
    raise KeyError(runtime.node)


def test_a_handler_that_fails_fails_the_run() -> None:
    builder = StateGraph(State)
    builder.add_node("a", failing, error_handler=broken_handler)
    builder.add_edge(START, "a")
    bench = Bench(builder)
    run_id = bench.submit()
    bench.drain()
    failure = parse_failure(bench.run(run_id).error)
    assert failure is not None
    assert (failure.type, bench.run(run_id).status) == ("KeyError", "failed")


def test_a_handler_with_other_arguments_is_refused() -> None:
    with pytest.raises(GraphValidationError, match="'what'"):
        StateGraph(State).add_node("a", failing, error_handler=lambda state, what: None)


def test_a_command_to_nowhere_is_refused() -> None:
    graph = chain(a=lambda state: Command(goto="nowhere")).compile()
    with pytest.raises(InvalidUpdateError, match="'nowhere'"):
        graph.invoke({"n": 0})


def test_a_command_adds_to_the_edges() -> None:
    builder = StateGraph(State)
    builder.add_node("a", lambda state: Command(update={"log": ["a"]}, goto=["c", END]))
    builder.add_node("b", says("b"))
    builder.add_node("c", says("c"))
    builder.add_edge(START, "a")
    builder.add_edge("a", "b")
    assert builder.compile().invoke({"n": 0})["log"] == ["a", "b", "c"]


# ---------------------------------------------------------------- transactions


def test_a_store_without_tables_refuses_a_transaction() -> None:
    def wants(state: State, runtime: Runtime) -> State:
        with runtime.transaction():
            return {}

    with pytest.raises(ConfigurationError, match="postgresql"):
        chain(a=wants).compile().invoke({"n": 0})

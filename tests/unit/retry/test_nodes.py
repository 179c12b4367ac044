"""Nodes under each strategy: in one process through ``graph.invoke``, and on a worker, where long waits leave the slot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from petiole_stores.errors import GraphValidationError
from petiole_workers.failure import parse_failure
from petiole_workers.graph import START, RetryPolicy, Runtime, StateGraph
from petiole_workers.retry import Adaptive, Emergency, Exponential, Fixed, RetryStrategy
from petiole_workers.retry.streaks import Streaks
from tests.unit.engine.bench import Bench, State
from tests.unit.retry.clock import Clock
from tests.unit.retry.naming import named


class Flaky:
    """A node that raises these errors, one a try, and then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = [*errors]
        self.tries: list[Runtime] = []

    def __call__(self, state: State, runtime: Runtime) -> State:
        self.tries.append(runtime)
        if self.errors:
            raise self.errors.pop(0)
        return {"n": runtime.attempt}


def graph_of(node: Callable[..., Any], policy: RetryStrategy | list[RetryStrategy]) -> StateGraph:
    return StateGraph(State).add_node("a", node, retry_policy=policy).add_edge(START, "a")


def down(times: int) -> list[Exception]:
    return [ConnectionError(f"down {n}") for n in range(1, times + 1)]


EACH = pytest.mark.parametrize(
    ("strategy", "attempts"),
    [
        (Exponential(), 3),
        (Exponential(max_attempts=5, jitter=False), 5),
        (Fixed(), 6),
        (Adaptive(), 3),
        (Adaptive(max_attempts=7), 7),
        (Emergency(), 3),
        (RetryPolicy(), 3),
    ],
    ids=named,
)


@EACH
def test_the_last_attempt_counts(strategy: RetryStrategy, attempts: int, clock: Clock) -> None:
    node = Flaky(*down(attempts - 1))
    assert graph_of(node, strategy).compile().invoke({"n": 0})["n"] == attempts
    assert [runtime.attempt for runtime in node.tries] == [*range(1, attempts + 1)]
    assert len({runtime.idempotency_key for runtime in node.tries}) == 1
    assert node.tries[0].idempotency_key


@EACH
def test_after_the_last_attempt_the_node_s_own_error_is_raised(
    strategy: RetryStrategy, attempts: int, clock: Clock
) -> None:
    node = Flaky(*down(attempts))
    with pytest.raises(ConnectionError, match=f"down {attempts}"):
        graph_of(node, strategy).compile().invoke({"n": 0})
    assert len(node.tries) == attempts


def test_in_an_emergency_a_node_is_tried_without_waiting_until_the_time_is_over(clock: Clock) -> None:
    tries: list[float] = []

    def node(state: State) -> State:
        tries.append(clock.now)
        clock.now += 1.0
        raise ConnectionError("down")

    with pytest.raises(ConnectionError):
        graph_of(node, Emergency(emergency_mode=True, timeout=3.0)).compile().invoke({"n": 0})
    assert tries == [100.0, 101.0, 102.0, 103.0]


def test_of_several_the_first_that_takes_the_exception_decides(clock: Clock) -> None:
    node = Flaky(ConnectionError(), KeyError("k"), KeyError("k"), OSError("gone"))
    strategies: list[RetryStrategy] = [
        Fixed(0.5, retry_on=ConnectionError),
        Fixed(0.25, retry_on=KeyError),
        RetryPolicy(initial_interval=0.01, jitter=False, max_attempts=9, retry_on=(KeyError, OSError)),
    ]
    assert graph_of(node, strategies).compile().invoke({"n": 0})["n"] == 5
    assert clock.slept == pytest.approx([0.5, 0.25, 0.25, 0.08])


def test_an_exception_that_none_takes_is_not_retried(clock: Clock) -> None:
    node = Flaky(ValueError("wrong"))
    with pytest.raises(ValueError, match="wrong"):
        graph_of(node, [Fixed(), Exponential()]).compile().invoke({"n": 0})
    assert len(node.tries) == 1


def test_an_adaptive_node_is_remembered_by_graph_and_name(clock: Clock, streaks: Streaks) -> None:
    strategy = Adaptive(threshold=1, jitter=False)
    for _ in range(2):
        with pytest.raises(ConnectionError):
            graph_of(Flaky(*down(3)), strategy).compile(name="shop").invoke({"n": 0})
    assert streaks.stretches((strategy, "shop.a")) == 5, "failures of two runs, in a row"
    assert clock.slept == pytest.approx([0.1, 0.2 * 1.5, 0.1 * 1.5**3, 0.2 * 1.5**4])
    graph_of(Flaky(), strategy).compile(name="shop").invoke({"n": 0})
    assert streaks.stretches((strategy, "shop.a")) == 4


# ---------------------------------------------------------------- on a worker


def test_a_wait_above_the_worker_s_leaves_it_and_the_attempt_keeps_its_key(clock: Clock) -> None:
    node = Flaky(*down(5))
    strategy = Exponential(base_delay=0.5, jitter=False, max_attempts=6)
    bench = Bench(graph_of(node, strategy), in_process_wait=1.0)
    run_id = bench.submit()
    bench.drain()
    assert clock.slept == [0.5, 1.0], "the third wait, of 2 s, is not slept through"
    parked = []
    while bench.run(run_id).status == "running":
        task = bench.tasks(run_id)["a"]
        assert task.status == "parked"
        assert task.run_at is not None
        parked.append(task.run_at - bench.now)
        bench.now = task.run_at
        bench.beat()
        bench.store.sweep(observed=0.0)
        bench.publish(bench.store.due())
        bench.drain()
    assert parked == [2.0, 4.0, 8.0]
    assert bench.run(run_id).status == "succeeded"
    assert [runtime.attempt for runtime in node.tries] == [1, 2, 3, 4, 5, 6]
    assert len({runtime.idempotency_key for runtime in node.tries}) == 1
    failures = [parse_failure(attempt.error) for attempt in bench.tasks(run_id)["a"].attempts]
    assert [(f.type, f.message, f.attempt) for f in failures if f] == [
        ("ConnectionError", "down 3", 3), ("ConnectionError", "down 4", 4), ("ConnectionError", "down 5", 5),
    ]  # fmt: skip
    assert all("Traceback" in f.traceback for f in failures if f)


# ---------------------------------------------------------------- what a builder refuses


@pytest.mark.parametrize("policy", [3, "fixed", Fixed, [Exponential(), None], {"max_attempts": 3}], ids=named)
def test_what_is_no_strategy_is_named(policy: Any) -> None:
    with pytest.raises(GraphValidationError, match=r"node 'a' has the retry policy .*: give Exponential\(\)"):
        StateGraph(State).add_node("a", Flaky(), retry_policy=policy)

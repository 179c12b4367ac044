"""What a slot leaves on the board for the case that its node has to be ended, and what comes of it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from petiole_stores.records import Outcome
from petiole_workers.board import Board, Sight
from petiole_workers.celery.overseer import commit_timeout
from petiole_workers.failure import parse_failure
from petiole_workers.graph import (
    END,
    START,
    Command,
    NodeError,
    RetryPolicy,
    Runtime,
    Send,
    StateGraph,
    TimeoutPolicy,
)
from petiole_workers.limits import NodeTimeoutError
from tests.unit.engine.bench import HOLDER, Bench, State, says

BRIEF = RetryPolicy(initial_interval=0.001, jitter=False, max_attempts=2, retry_on=NodeTimeoutError)


class Seated(Bench):
    """A bench whose runner has a seat on a board; the test is the main process."""

    def __init__(self, builder: StateGraph, **settings: Any) -> None:
        super().__init__(builder, **settings)
        self.board = Board(1)
        self.runner.seat = self.board.take()
        self.pool, self.holder, self.publisher = "threads", HOLDER, self

    def seen(self) -> Sight:
        [sight] = self.board.look()
        return sight

    def end_in_its_absence(self) -> Outcome:
        """What the main process does with a node past its timeout."""
        sight = self.seen()
        assert self.board.take_over(sight)
        commit_timeout(self, sight)  # type: ignore[arg-type]
        assert sight.posted.on_timeout is not None
        return sight.posted.on_timeout


class Worked(Seated):
    """One whose second node is given."""

    def __init__(self, node: Any, *, settings: dict[str, Any] | None = None, **options: Any) -> None:
        builder = StateGraph(State)
        builder.add_node("first", says("first"))
        builder.add_node("node", node, **options)
        builder.add_edge(START, "first").add_edge("first", "node").add_edge("node", END)
        super().__init__(builder, **(settings or {}))


def test_a_node_without_a_timeout_is_shown_without_a_deadline() -> None:
    seen: list[Sight] = []
    bench = Worked(lambda state: seen.append(bench.seen()))
    run_id = bench.submit()
    bench.drain()
    [sight] = seen
    assert (sight.posted.ref.node, sight.posted.ref.run_id, sight.deadline) == ("node", run_id, 0.0)
    assert bench.board.look() == []


def test_progress_sets_back_the_deadline_that_the_main_process_sees() -> None:
    seen: list[float] = []

    def node(state: State, runtime: Runtime) -> None:
        seen.append(bench.seen().deadline)
        runtime.heartbeat({"at": 1})
        seen.append(bench.seen().deadline)
        runtime.sleep(0.01)
        seen.append(bench.seen().deadline)

    bench = Worked(node, timeout=TimeoutPolicy(idle_timeout=60))
    bench.submit()
    bench.drain()
    assert 0 < seen[0] < seen[1] < seen[2]
    assert bench.board.look() == []


def test_the_outcome_of_a_timeout_retries_as_the_policy_says_and_fails_after_the_last_try() -> None:
    left: list[Outcome] = []

    def node(state: State) -> None:
        posted = bench.seen().posted
        assert posted.on_timeout is not None
        left.append(posted.on_timeout)
        raise NodeTimeoutError("the alarm rang")

    bench = Worked(node, timeout=60, retry_policy=BRIEF)
    bench.submit()
    bench.drain()
    assert [outcome.ending for outcome in left] == ["retry", "failed"]
    failures = [parse_failure(outcome.error) for outcome in left]
    assert [(it.attempt, it.tries, it.type.rpartition(".")[2]) for it in failures if it] == [
        (1, 1, "NodeTimeoutError"),
        (2, 2, "NodeTimeoutError"),
    ]


def test_what_a_node_returns_too_late_is_refused_and_its_task_is_tried_once_more() -> None:
    calls: list[int] = []

    def node(state: State) -> State:
        calls.append(len(calls))
        if len(calls) == 1:
            bench.end_in_its_absence()
        return {"log": [f"call {len(calls)}"]}

    bench = Worked(node, timeout=60, retry_policy=BRIEF)
    run_id = bench.submit()
    bench.drain()
    bench.now += 1
    bench.store.sweep()
    bench.publish(bench.store.due())
    bench.drain()
    assert bench.run(run_id).status == "succeeded"
    assert bench.values()["log"] == ["first", "call 2"]
    assert bench.board.counts() | {"committed": 0} == {
        "committed": 0, "refused": 1, "failed": 0, "retried": 1, "parked": 0, "spooled": 0,
    }  # fmt: skip


def test_a_last_timeout_fails_the_run_once() -> None:
    def node(state: State) -> State:
        bench.end_in_its_absence()
        return {"log": ["late"]}

    bench = Worked(node, timeout=60)
    run_id = bench.submit()
    bench.drain()
    run = bench.run(run_id)
    error = parse_failure(run.error)
    assert run.status == "failed"
    assert error is not None
    assert error.type.endswith("NodeTimeoutError")
    assert bench.board.counts()["failed"] == 1
    assert bench.messages == [], "nothing that came too late is published"


def test_a_sends_timeout_is_the_deadline_that_the_main_process_sees() -> None:
    seen: dict[str, float] = {}

    def node(name: str) -> State:
        seen[name] = bench.seen().deadline
        return {"log": [name]}

    def sends(state: State) -> list[Send]:
        return [Send("node", "a"), Send("node", "b", timeout=600), Send("node", "c", timeout=TimeoutPolicy())]

    builder = StateGraph(State).add_node("node", node, timeout=60)
    bench = Seated(builder.add_conditional_edges(START, sends))
    bench.submit()
    bench.drain()
    assert 500 < seen["b"] - seen["a"] < 580
    assert 0 <= seen["c"] - seen["a"] < 30


@pytest.mark.parametrize("config", ["{}", '{"durability":"interval:1000"}'])
def test_a_sends_timeout_goes_with_a_task_that_its_slot_goes_on_to(config: str) -> None:
    async def node(name: str) -> None:
        await asyncio.sleep(30)

    builder = StateGraph(State).add_node("node", node)
    builder.add_node("first", lambda state: Command(goto=Send("node", "a", timeout=0.02)))
    bench = Bench(builder.add_edge(START, "first"), chain="inline", inline_slice=60.0)
    run_id = bench.submit(config=config)
    bench.drain()
    error = parse_failure(bench.run(run_id).error)
    assert error is not None
    assert error.message == "node 'node' ran longer than its timeout of 0.02 s"
    assert bench.tasks(run_id)["node"].timeout == '{"run_timeout":0.02}'


def test_a_node_that_returns_just_before_it_is_ended_leaves_the_timeout_to_be_committed_by_its_slot() -> None:
    """The main process has marked it and then saw it gone: one of both must commit."""

    def node(state: State) -> State:
        bench.board.take_over(bench.seen())
        return {"log": ["late"]}

    bench = Worked(node, timeout=60)
    run_id = bench.submit()
    bench.drain()
    assert bench.run(run_id).status == "failed"


def test_an_error_handler_is_called_by_the_next_attempt() -> None:
    handled: list[NodeError] = []
    calls: list[int] = []

    def node(state: State) -> None:
        calls.append(1)
        bench.end_in_its_absence()

    def handler(state: State, error: NodeError) -> State:
        handled.append(error)
        return {"log": ["handled"]}

    bench = Worked(node, timeout=60, error_handler=handler)
    run_id = bench.submit()
    bench.drain()
    assert bench.run(run_id).status == "succeeded"
    assert (len(calls), [type(it.error) for it in handled]) == (1, [NodeTimeoutError])
    assert bench.values()["log"] == ["first", "handled"]


@pytest.mark.parametrize("durability", ["interval:60", "exit"])
def test_the_ledger_knows_of_a_node_with_a_timeout_before_it_runs(durability: str) -> None:
    """What is carried is committed first: else a node that is ended again and again would never be counted."""
    seen: list[tuple[bool, str]] = []

    def node(state: State) -> None:
        sight = bench.seen()
        task = bench.tasks(sight.posted.ref.run_id)["node"]
        seen.append((sight.posted.claimed, task.status))

    bench = Worked(node, timeout=60, settings={"durability": durability})
    bench.submit()
    bench.drain()
    assert seen == [(True, "claimed")]


def test_a_carried_node_is_not_taken_for_one_whose_claim_has_ended() -> None:
    seen: list[Sight] = []
    bench = Worked(lambda state: seen.append(bench.seen()), settings={"durability": "exit"})
    bench.submit()
    bench.drain()
    assert [sight.posted.claimed for sight in seen] == [False]

"""Runs that cannot go on, on every store: writes that are at odds, and the recursion limit. They fail once, as in LangGraph."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

import pytest

from petiole import (
    START,
    CompiledGraph,
    GraphRecursionError,
    InvalidUpdateError,
    RunFailedError,
    Runtime,
    StateGraph,
    interrupt,
)
from petiole.testing import LocalWorker
from petiole_stores.ids import new_id
from petiole_stores.store import Store


class State(TypedDict, total=False):
    n: int
    log: Annotated[list[str], operator.add]


def at_odds(third: Callable[..., Any] | None = None) -> StateGraph:
    """Two nodes that write one key in one superstep, and a third one beside them."""
    builder = StateGraph(State)
    builder.add_node("a", lambda state: {"n": 1}).add_node("b", lambda state: {"n": 2})
    builder.add_edge(START, "a").add_edge(START, "b")
    if third is not None:
        builder.add_node("third", third).add_edge(START, "third")
    return builder


def fails_once(worker: LocalWorker, handle: Any, kind: type[Exception]) -> None:
    """The run has failed of ``kind``, in one attempt of one task."""
    worker.run_until_idle()
    with pytest.raises(RunFailedError) as caught:
        handle.result(0)
    assert caught.value.failure is not None
    assert caught.value.failure.type.rpartition(".")[2] == kind.__name__
    failed = [task for task in worker.client.store.list_tasks(handle.run_id) if task.status == "failed"]
    assert [task.attempt for task in failed if not task.replaced and not task.child] == [1]


def submitted(worker: LocalWorker, graph: CompiledGraph) -> Any:
    handle = worker.client.submit(graph, {}, thread_id=new_id())
    worker.run_until_idle()
    return handle


def test_writes_at_odds_fail_the_run_once(store: Store) -> None:
    graph = at_odds().compile(name="odds")
    with LocalWorker([graph], store) as worker:
        handle = submitted(worker, graph)
        fails_once(worker, handle, InvalidUpdateError)
        fails_once(worker, worker.client.replay(handle.thread_id), InvalidUpdateError)


def test_they_do_in_a_graph_that_is_a_node(store: Store) -> None:
    inner = at_odds().compile()
    graph = StateGraph(State).add_node("inner", inner).add_edge(START, "inner").compile(name="within")
    with LocalWorker([graph], store) as worker:
        fails_once(worker, submitted(worker, graph), InvalidUpdateError)


def test_they_do_once_a_question_beside_them_is_answered(store: Store) -> None:
    graph = at_odds(lambda state: {"log": [interrupt("?")]}).compile(store, name="asking")
    with LocalWorker([graph], store) as worker:
        handle = submitted(worker, graph)
        assert handle.status() == "interrupted"
        config = {"configurable": {"thread_id": handle.thread_id}}
        with pytest.raises(InvalidUpdateError):
            graph.get_state(config)
        worker.client.resume(handle.thread_id, "yes")
        fails_once(worker, handle, InvalidUpdateError)


def test_they_do_once_a_node_beside_them_has_slept(store: Store) -> None:
    def sleep(state: State, runtime: Runtime[Any]) -> State:
        runtime.sleep(600)
        return {"log": ["slept"]}

    graph = at_odds(sleep).compile(name="sleeping")
    with LocalWorker([graph], store) as worker:
        handle = submitted(worker, graph)
        assert handle.status() in ("running", "waiting")
        worker.clock.tick(601)
        fails_once(worker, handle, InvalidUpdateError)


def counting(store: Store, last: int) -> CompiledGraph:
    builder = StateGraph(State).add_node("a", lambda state: {"n": state.get("n", 0) + 1})
    builder.add_edge(START, "a")
    builder.add_conditional_edges("a", lambda state: "a" if state["n"] < last else "__end__")
    return builder.compile(store, name="counting")


def test_the_last_superstep_within_the_limit_is_kept_and_a_replay_counts_anew(store: Store) -> None:
    graph = counting(store, 5)
    with LocalWorker([graph], store) as worker:
        handle = worker.client.submit(graph, {}, thread_id=new_id(), recursion_limit=3)
        fails_once(worker, handle, GraphRecursionError)
        state = graph.get_state({"configurable": {"thread_id": handle.thread_id}})
        assert (state.values["n"], state.next, state.metadata["step"]) == (3, ("a",), 3)
        worker.client.replay(handle.thread_id)
        worker.run_until_idle()
        assert handle.result(0)["n"] == 5


def test_a_run_that_ends_with_the_last_step_has_failed_and_a_replay_ends_it(store: Store) -> None:
    graph = counting(store, 3)
    with LocalWorker([graph], store) as worker:
        handle = worker.client.submit(graph, {}, thread_id=new_id(), recursion_limit=3)
        fails_once(worker, handle, GraphRecursionError)
        config = {"configurable": {"thread_id": handle.thread_id}}
        state = graph.get_state(config)
        assert (state.values["n"], state.next, state.metadata["step"]) == (3, (), 3)
        worker.client.replay(handle.thread_id)
        worker.run_until_idle()
        assert handle.result(0)["n"] == 3

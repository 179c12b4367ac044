"""What a graph may say, run by a worker on every store: whatever it writes has to survive being stored."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

import pytest

from petiole import (
    START,
    Command,
    CompiledGraph,
    EphemeralValue,
    Overwrite,
    RemainingSteps,
    Send,
    StateGraph,
    Topic,
    UntrackedValue,
)
from petiole.testing import LocalWorker
from petiole_stores.ids import new_id
from petiole_stores.store import Store


def run(store: Store, graph: CompiledGraph, input: Any, **options: Any) -> dict[str, Any]:
    """The result of one run by a worker on ``store``, which must not be in memory alone."""
    options.setdefault("thread_id", new_id())
    with LocalWorker([graph], store) as worker:
        handle = worker.client.submit(graph, input, **options)
        worker.run_until_idle()
        return handle.result(0)


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    once: Annotated[str, EphemeralValue]
    topic: Annotated[list[str], Topic(str)]
    run: Annotated[str, UntrackedValue]
    left: RemainingSteps
    seen: Annotated[list[Any], operator.add]


@pytest.mark.parametrize("wide", [False, True])
def test_an_overwrite_survives_the_store(store: Store, wide: bool) -> None:
    builder = StateGraph(State).add_edge(START, "a")
    builder.add_node("a", lambda state: Command(update={"log": Overwrite(["over"])}, goto="c"))
    builder.add_node("c", lambda state: {"log": ["c"]})
    if wide:  # the last joiner applies what it reads from the store
        builder.add_edge(START, "b").add_node("b", lambda state: {"log": ["dropped"]})
    graph = builder.compile(name=f"overwrites-{wide}")
    assert run(store, graph, {"log": Overwrite(["in"])})["log"] == ["over", "c"]


def test_channels_and_managed_values_count_across_tasks(store: Store) -> None:
    builder = StateGraph(State).add_edge(START, "a").add_edge("a", "b").add_edge("b", "c")

    def look(name: str, **update: Any) -> Any:
        def node(state: Any) -> dict[str, Any]:
            keys = ("once", "topic", "run", "left")
            return update | {"seen": [name, *(state.get(key) for key in keys)]}

        return node

    builder.add_node("a", look("a", once="1", topic=["x", "y"], run="r")).add_node("b", look("b"))
    builder.add_node("c", look("c"))
    graph = builder.compile(name="channels")
    thread = new_id()
    given = run(store, graph, {}, thread_id=thread, recursion_limit=7)
    assert given["seen"] == ["a", None, None, None, 6, "b", "1", ["x", "y"], "r", 5, "c", None, None, "r", 4]
    assert run(store, graph, {}, thread_id=thread)["seen"][15:18] == ["a", None, None]


def test_a_send_may_lead_to_a_node_that_overwrites(store: Store) -> None:
    builder = StateGraph(State)
    builder.add_node("a", lambda arg: {"log": Overwrite([arg])} if arg == "2" else {"log": [arg]})
    builder.add_conditional_edges(START, lambda state: [Send("a", str(n)) for n in range(5)], ["a"])
    assert run(store, builder.compile(name="sends"), {})["log"] == ["2"]

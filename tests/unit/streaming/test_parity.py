"""The same graph streamed by LangGraph and by this engine: every chunk must agree."""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Annotated, Any, TypedDict

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings

import petiole
from petiole_stores.errors import GraphRecursionError, InvalidUpdateError
from petiole_stores.memory import MemoryStore
from tests.unit.graph.test_langgraph_parity import base_spec, build, specs
from tests.unit.streaming.normal import is_of_a_task, normal

langgraph_graph = pytest.importorskip("langgraph.graph", reason="langgraph is not installed")
langgraph_types = pytest.importorskip("langgraph.types", reason="langgraph is not installed")
langgraph_errors = pytest.importorskip("langgraph.errors", reason="langgraph is not installed")
langgraph_config = pytest.importorskip("langgraph.config", reason="langgraph is not installed")
langgraph_memory = pytest.importorskip("langgraph.checkpoint.memory", reason="langgraph is not installed")

pytestmark = pytest.mark.filterwarnings("default")

ALL = ["values", "updates", "checkpoints", "tasks", "debug", "custom"]
CONFIG: dict[str, Any] = {"configurable": {"thread_id": "1"}, "recursion_limit": 12}

THEIRS = SimpleNamespace(
    StateGraph=langgraph_graph.StateGraph,
    START=langgraph_graph.START,
    END=langgraph_graph.END,
    Send=langgraph_types.Send,
    Command=langgraph_types.Command,
    get_stream_writer=langgraph_config.get_stream_writer,
    saver=langgraph_memory.InMemorySaver,
)
OURS = SimpleNamespace(
    StateGraph=petiole.StateGraph,
    START=petiole.START,
    END=petiole.END,
    Send=petiole.Send,
    Command=petiole.Command,
    get_stream_writer=petiole.get_stream_writer,
    saver=MemoryStore,
)


class State(TypedDict, total=False):
    x: int
    log: Annotated[list[Any], operator.add]


Scenario = Callable[[Any], Any]


def chain(library: Any) -> Any:
    builder = library.StateGraph(State)
    builder.add_node("a", lambda state: {"x": state["x"] + 1, "log": ["a"]})
    builder.add_node("b", lambda state: {"log": ["b"], "unknown": 1})
    builder.add_node("quiet", lambda state: None)
    builder.add_edge(library.START, "a")
    builder.add_edge("a", "b")
    builder.add_edge("b", "quiet")
    return builder


def fan_out(library: Any) -> Any:
    builder = library.StateGraph(State)
    for name in ("a", "b", "c", "d"):
        builder.add_node(name, lambda state, name=name: {"log": [name]})
    builder.add_edge(library.START, "a")
    builder.add_edge("a", "b")
    builder.add_edge("a", "c")
    builder.add_edge(["b", "c"], "d")
    return builder


def sends(library: Any) -> Any:
    builder = library.StateGraph(State)
    builder.add_node("a", lambda state: {"log": ["a"]})
    builder.add_node("w", lambda state: {"log": [state["k"]]})
    builder.add_node("end", lambda state: {"x": len(state["log"])})
    builder.add_edge(library.START, "a")
    builder.add_conditional_edges("a", lambda state: [library.Send("w", {"k": i}) for i in range(3)])
    builder.add_edge("w", "end")
    return builder


def commands(library: Any) -> Any:
    builder = library.StateGraph(State)
    builder.add_node("a", lambda state: library.Command(update={"log": ["a"]}, goto=["b", "c"]))
    builder.add_node("b", lambda state: library.Command(goto=library.Send("c", {"x": 9})))
    builder.add_node("c", lambda state: {"log": [state["x"]]})
    builder.add_edge(library.START, "a")
    return builder


def speaking(library: Any) -> Any:
    def a(state: Any) -> Any:
        writer = library.get_stream_writer()
        writer({"at": 1})
        writer("half way")
        return {"x": 1}

    builder = library.StateGraph(State)
    builder.add_node("a", a)
    builder.add_edge(library.START, "a")
    return builder


def failing(library: Any) -> Any:
    beside = threading.Event()

    def also(state: Any) -> Any:
        threading.Timer(0.2, beside.set).start()
        return {"log": ["beside"]}

    def boom(state: Any) -> Any:
        beside.wait(20)  # LangGraph would cancel the sibling
        raise ValueError("boom")

    builder = library.StateGraph(State)
    builder.add_node("a", lambda state: {"x": 1})
    builder.add_node("and", also)
    builder.add_node("boom", boom)
    builder.add_edge(library.START, "a")
    builder.add_edge("a", "and")
    builder.add_edge("a", "boom")
    return builder


def conflicting(library: Any) -> Any:
    builder = library.StateGraph(State)
    builder.add_node("a", lambda state: {"x": 1})
    builder.add_node("b", lambda state: {"x": 2})
    builder.add_edge(library.START, "a")
    builder.add_edge(library.START, "b")
    return builder


def endless(library: Any) -> Any:
    builder = library.StateGraph(State)
    builder.add_node("a", lambda state: {"log": ["a"]})
    builder.add_edge(library.START, "a")
    builder.add_edge("a", "a")
    return builder


def chunks_of(graph: Any, calls: list[tuple[Any, dict[str, Any]]]) -> list[Any]:
    """Everything that these calls stream, one after the other on one thread, and what each raised.

    The tasks that come next when a run may take no further step fail here, in LangGraph they are not begun.
    """
    got: list[Any] = []
    for given_input, options in calls:
        try:
            got.extend(graph.stream(given_input, CONFIG, **{"stream_mode": ALL, **options}))
        except (GraphRecursionError, langgraph_errors.GraphRecursionError):
            while is_of_a_task(got[-1]):
                got.pop()
            got.append(("raised", {"kind": "GraphRecursionError"}))
        except (InvalidUpdateError, langgraph_errors.InvalidUpdateError):
            got.append(("raised", {"kind": "InvalidUpdateError"}))
        except ValueError as error:
            got.append(("raised", {"kind": repr(error)}))
    return got


def both(scenario: Scenario, calls: list[tuple[Any, dict[str, Any]]], **compiled: Any) -> tuple[Any, Any]:
    """What both libraries stream. Tasks that run side by side may end in any order."""
    ours, theirs = (
        normal(
            chunks_of(scenario(library).compile(checkpointer=library.saver(), **compiled), calls),
            ordered=scenario in (chain, speaking, endless),
        )
        for library in (OURS, THEIRS)
    )
    return ours, theirs


ONCE: list[tuple[Any, dict[str, Any]]] = [({"x": 0}, {})]
TWICE: list[tuple[Any, dict[str, Any]]] = [({"x": 0}, {}), ({"log": ["in"]}, {})]
THEN_ON: list[tuple[Any, dict[str, Any]]] = [({"x": 0}, {}), (None, {}), (None, {})]


@pytest.mark.parametrize(
    "scenario", [chain, fan_out, sends, commands, speaking, conflicting, endless], ids=lambda s: s.__name__
)
@pytest.mark.parametrize("calls", [ONCE, TWICE], ids=["once", "twice"])
def test_every_chunk_is_langgraphs(scenario: Scenario, calls: Any) -> None:
    ours, theirs = both(scenario, calls)
    assert ours == theirs
    assert len(ours) > 4


def test_a_failure_is_streamed_and_gone_on_from_as_in_langgraph() -> None:
    ours, theirs = both(failing, THEN_ON)
    assert ours == theirs
    assert ("raised", {"kind": "ValueError('boom')"}) in ours
    assert any(mode == "updates" and "__metadata__" in data for mode, data in ours)


@pytest.mark.parametrize("where", ["interrupt_before", "interrupt_after"])
@pytest.mark.parametrize("how", ["compiled", "asked"])
def test_a_stop_is_streamed_and_passed_as_in_langgraph(where: str, how: str) -> None:
    stop = {where: ["b", "c"]}
    if how == "compiled":
        ours, theirs = both(fan_out, THEN_ON, **stop)
    else:
        ours, theirs = both(fan_out, [({"x": 0}, stop), (None, {}), (None, {})])
    assert ours == theirs
    assert ("updates", {"__interrupt__": []}) in ours


@pytest.mark.parametrize("keys", ["log", ["log"], ["x"]])
@pytest.mark.parametrize("scenario", [chain, fan_out, commands], ids=lambda s: s.__name__)
def test_output_keys_choose_as_in_langgraph(scenario: Scenario, keys: Any) -> None:
    ours, theirs = both(scenario, [({"x": 0}, {"output_keys": keys})])
    assert ours == theirs


@pytest.mark.parametrize("mode", [None, "values", "updates", ["values"], ["updates", "values"]], ids=str)
@pytest.mark.parametrize("subgraphs", [False, True])
def test_chunks_have_langgraphs_shape(mode: Any, subgraphs: bool) -> None:
    ours, theirs = (
        list(fan_out(library).compile().stream({"x": 0}, stream_mode=mode, subgraphs=subgraphs))
        for library in (OURS, THEIRS)
    )
    assert sorted(map(repr, ours)) == sorted(map(repr, theirs))


def test_without_a_checkpointer_there_are_no_checkpoints() -> None:
    ours, theirs = (
        normal(fan_out(library).compile().stream({"x": 0}, stream_mode=ALL), ordered=False)
        for library in (OURS, THEIRS)
    )
    assert ours == theirs
    assert not any(mode == "checkpoints" for mode, _ in ours)


@settings(
    max_examples=60,
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
@example(base_spec(edges=[("__start__", "a"), ("a", "b"), ("b", "c"), ("b", "a")], joins=[(["b", "c"], "d")]))
@example(
    base_spec(
        commands={"a": (9, ["b", ("send", "b", 2)])},
        branches=[("a", [(9, [("send", "c", 1)])])],
    )
)
@given(specs())
def test_every_chunk_of_random_graphs_is_langgraphs(spec: dict[str, Any]) -> None:
    calls: list[tuple[Any, dict[str, Any]]] = [(value, {}) for value in spec["inputs"]]
    theirs = build(spec, langgraph_graph, langgraph_types).compile(checkpointer=THEIRS.saver())
    ours = build(spec, petiole, petiole).compile(checkpointer=MemoryStore())
    assert normal(chunks_of(ours, calls), ordered=False) == normal(chunks_of(theirs, calls), ordered=False)

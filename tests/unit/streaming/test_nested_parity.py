"""Interrupts and graphs as nodes: what LangGraph and this engine stream of them must agree."""

from __future__ import annotations

import operator
import threading
from types import SimpleNamespace
from typing import Annotated, Any, TypedDict

import pytest

import petiole
from petiole_stores.memory import MemoryStore
from petiole_workers.graph import interrupt
from tests.unit.streaming.normal import normal

langgraph_graph = pytest.importorskip("langgraph.graph", reason="langgraph is not installed")
langgraph_types = pytest.importorskip("langgraph.types", reason="langgraph is not installed")
langgraph_config = pytest.importorskip("langgraph.config", reason="langgraph is not installed")
langgraph_memory = pytest.importorskip("langgraph.checkpoint.memory", reason="langgraph is not installed")

pytestmark = pytest.mark.filterwarnings("default")

ALL = ["values", "updates", "checkpoints", "tasks", "custom"]
CONFIG: dict[str, Any] = {"configurable": {"thread_id": "1"}}

THEIRS = SimpleNamespace(
    StateGraph=langgraph_graph.StateGraph,
    START=langgraph_graph.START,
    END=langgraph_graph.END,
    Command=langgraph_types.Command,
    interrupt=langgraph_types.interrupt,
    get_stream_writer=langgraph_config.get_stream_writer,
    saver=langgraph_memory.InMemorySaver,
)
OURS = SimpleNamespace(
    StateGraph=petiole.StateGraph,
    START=petiole.START,
    END=petiole.END,
    Command=petiole.Command,
    interrupt=interrupt,
    get_stream_writer=petiole.get_stream_writer,
    saver=MemoryStore,
)


class State(TypedDict, total=False):
    x: int
    log: Annotated[list[Any], operator.add]


def asking(library: Any) -> Any:
    builder = library.StateGraph(State)
    builder.add_node("a", lambda state: {"x": 1})
    builder.add_node("ask", lambda state: {"log": [library.interrupt("how many?")]})
    builder.add_node("end", lambda state: {"log": ["end"]})
    builder.add_edge(library.START, "a")
    builder.add_edge("a", "ask")
    builder.add_edge("ask", "end")
    return builder


def asking_beside(library: Any) -> Any:
    """One asks while another one gives something."""
    beside = threading.Event()

    def ask(state: Any) -> Any:
        beside.wait(20)
        return {"log": [library.interrupt({"q": 1})]}

    def also(state: Any) -> Any:
        threading.Timer(0.2, beside.set).start()
        return {"log": ["beside"]}

    builder = library.StateGraph(State)
    builder.add_node("also", also)
    builder.add_node("ask", ask)
    builder.add_edge(library.START, "also")
    builder.add_edge(library.START, "ask")
    return builder


def inner(library: Any) -> Any:
    def speak(state: Any) -> Any:
        library.get_stream_writer()({"in": "inner"})
        return {"log": ["speak"]}

    builder = library.StateGraph(State)
    builder.add_node("speak", speak)
    builder.add_node("more", lambda state: {"x": state.get("x", 0) + 10})
    builder.add_edge(library.START, "speak")
    builder.add_edge("speak", "more")
    return builder


def nested(library: Any) -> Any:
    builder = library.StateGraph(State)
    builder.add_node("a", lambda state: {"x": 1})
    builder.add_node("sub", inner(library).compile())
    builder.add_node("end", lambda state: {"x": state["x"] + 1})
    builder.add_edge(library.START, "a")
    builder.add_edge("a", "sub")
    builder.add_edge("sub", "end")
    return builder


def nested_twice(library: Any) -> Any:
    middle = library.StateGraph(State)
    middle.add_node("deep", inner(library).compile())
    middle.add_edge(library.START, "deep")
    builder = library.StateGraph(State)
    builder.add_node("sub", middle.compile())
    builder.add_edge(library.START, "sub")
    return builder


def nested_asking(library: Any) -> Any:
    builder = library.StateGraph(State)
    builder.add_node("sub", asking(library).compile())
    builder.add_edge(library.START, "sub")
    return builder


def nested_leaving(library: Any) -> Any:
    middle = library.StateGraph(State)
    leave = {"graph": library.Command.PARENT, "update": {"x": 5}, "goto": "end"}
    middle.add_node("leave", lambda state: library.Command(**leave))
    middle.add_edge(library.START, "leave")
    builder = library.StateGraph(State)
    builder.add_node("sub", middle.compile())
    builder.add_node("end", lambda state: {"log": ["end"]})
    builder.add_edge(library.START, "sub")
    return builder


def chunks_of(scenario: Any, library: Any, inputs: list[Any], **options: Any) -> list[Any]:
    graph = scenario(library).compile(checkpointer=library.saver())
    got: list[Any] = []
    for given in inputs:
        value = library.Command(resume=given[1]) if isinstance(given, tuple) else given
        got += graph.stream(value, CONFIG, stream_mode=ALL, **options)
    return got


def plain(chunks: list[Any]) -> list[Any]:
    """Chunks without what each library has of its own: ids of questions, the map of checkpoints around one."""
    named = [(f"{_names(ns)} {mode}", _bare(data)) for ns, mode, data in chunks]
    return [(mode, data) for mode, data in normal(named)]


def _names(ns: tuple[str, ...]) -> str:
    return "|".join(part.partition(":")[0] for part in ns)


def _bare(data: Any) -> Any:
    if hasattr(data, "value") and hasattr(data, "id"):
        return {"asked": data.value}
    if isinstance(data, dict):
        if "value" in data and "id" in data:
            return {"asked": data["value"]}
        return {
            key: _names(tuple(value.split("|"))) if key == "checkpoint_ns" else _bare(value)
            for key, value in data.items()
            if key not in ("checkpoint_map", "parents")
        }
    if isinstance(data, list | tuple):
        return [_bare(item) for item in data]
    return data


@pytest.mark.parametrize("scenario", [asking, asking_beside])
def test_an_interrupt_and_its_answer_are_streamed_as_in_langgraph(scenario: Any) -> None:
    inputs = [{"x": 0}, ("resume", 3)]
    ours, theirs = (plain(chunks_of(scenario, it, inputs, subgraphs=True)) for it in (OURS, THEIRS))
    assert ours == theirs
    assert any("asked" in repr(data) for _, data in ours)


@pytest.mark.parametrize("scenario", [nested, nested_twice])
@pytest.mark.parametrize("subgraphs", [True, False])
def test_graphs_as_nodes_are_streamed_as_in_langgraph(scenario: Any, subgraphs: bool) -> None:
    def chunks(library: Any) -> list[Any]:
        got = chunks_of(scenario, library, [{"x": 0}], subgraphs=subgraphs)
        return plain(got if subgraphs else [((), *chunk) for chunk in got])

    ours, theirs = chunks(OURS), chunks(THEIRS)
    assert ours == theirs
    assert any(mode.startswith("sub") for mode, _ in ours) is subgraphs


def test_a_question_within_a_graph_that_is_a_node_is_streamed_as_in_langgraph() -> None:
    inputs = [{"x": 0}, ("resume", 3)]
    ours, theirs = (plain(chunks_of(nested_asking, it, inputs, subgraphs=True)) for it in (OURS, THEIRS))
    assert ours == theirs


def test_a_command_to_the_parent_is_an_update_of_the_node_around_it() -> None:
    """Not of the node that gave it."""
    ours, theirs = (
        [
            data
            for mode, data in plain(chunks_of(nested_leaving, it, [{"x": 0}], subgraphs=True))
            if mode in told
        ]
        for told in ((" updates", "sub updates", "sub tasks"),)
        for it in (OURS, THEIRS)
    )
    assert [it for it in ours if "input" not in it] == [it for it in theirs if "input" not in it]
    assert {"sub": {"x": 5}} in ours

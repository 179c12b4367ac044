"""Channels, managed values and Overwrite: LangGraph's own classes are the judge."""

from __future__ import annotations

import operator
from typing import Annotated, Any, NotRequired, TypedDict

import pytest

from petiole_stores.errors import GraphValidationError, InvalidUpdateError
from petiole_workers import graph as petiole
from petiole_workers.graph import END, START, StateGraph
from tests.unit.graph.driver import drive

channels = pytest.importorskip("langgraph.channels", reason="langgraph is not installed")
managed = pytest.importorskip("langgraph.managed", reason="langgraph is not installed")
langgraph_graph = pytest.importorskip("langgraph.graph", reason="langgraph is not installed")
langgraph_types = pytest.importorskip("langgraph.types", reason="langgraph is not installed")
langgraph_errors = pytest.importorskip("langgraph.errors", reason="langgraph is not installed")
delta = pytest.importorskip("langgraph.channels.delta", reason="this langgraph has no DeltaChannel")
untracked = pytest.importorskip("langgraph.channels.untracked_value")

pytestmark = pytest.mark.filterwarnings("default")


def joined(value: list[str], writes: list[list[str]]) -> list[str]:
    return [*value, *(item for write in writes for item in write)]


class Theirs(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    any: Annotated[str, channels.AnyValue]
    once: Annotated[str, channels.EphemeralValue]
    loose: Annotated[str, channels.EphemeralValue(str, guard=False)]
    run: Annotated[str, channels.UntrackedValue]
    topic: Annotated[list[str], channels.Topic(str)]
    grown: Annotated[list[str], channels.Topic(str, accumulate=True)]
    total: Annotated[int, channels.BinaryOperatorAggregate(int, operator.add)]
    plain: Annotated[str, channels.LastValue]
    delta: Annotated[list[str], delta.DeltaChannel(joined)]
    last: managed.IsLastStep
    left: NotRequired[managed.RemainingSteps]


class Ours(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    any: Annotated[str, petiole.AnyValue]
    once: Annotated[str, petiole.EphemeralValue]
    loose: Annotated[str, petiole.EphemeralValue(str, guard=False)]
    run: Annotated[str, petiole.UntrackedValue]
    topic: Annotated[list[str], petiole.Topic(str)]
    grown: Annotated[list[str], petiole.Topic(str, accumulate=True)]
    total: Annotated[int, petiole.BinaryOperatorAggregate(int, operator.add)]
    plain: Annotated[str, petiole.LastValue]
    delta: Annotated[list[str], petiole.DeltaChannel(joined)]
    last: petiole.IsLastStep
    left: NotRequired[petiole.RemainingSteps]


def steps(library: Any, schema: Any, overwrite: Any) -> tuple[Any, list[Any]]:
    """Three supersteps that write each channel in turn, and what each node and router saw."""
    seen: list[Any] = []
    graph = library.StateGraph(schema)

    def look(name: str, *updates: dict[str, Any]) -> Any:
        turns = iter(updates)

        def node(state: Any) -> dict[str, Any]:
            seen.append((name, dict(sorted(state.items()))))
            return next(turns, {})

        return node

    keys = ("any", "once", "loose", "run", "plain")
    graph.add_node("a", look("a", dict.fromkeys(keys, "a") | {"topic": ["x", "y"], "delta": ["d"]}))
    graph.add_node("b", look("b", {"topic": "z", "grown": "1", "total": 2, "loose": "b"}))
    graph.add_node("c", look("c", {"loose": "c", "grown": ["2", "3"], "total": 3, "delta": ["e"]}))
    graph.add_node("d", look("d", {"delta": overwrite(["new"]), "log": {"__overwrite__": ["l"]}}))
    graph.add_node("e", look("e", {"total": {"type": "__overwrite__", "value": 7}}))

    def route(state: Any) -> str:
        seen.append(("route", dict(sorted(state.items()))))
        return "e"

    graph.add_edge(START, "a")
    graph.add_edge("a", "b")
    graph.add_edge("a", "c")
    graph.add_edge(["b", "c"], "d")
    graph.add_conditional_edges("d", route, ["e"])
    return graph, seen


def test_every_channel_takes_writes_as_langgraphs_does() -> None:
    theirs, seen_there = steps(langgraph_graph, Theirs, langgraph_types.Overwrite)
    there = theirs.compile().invoke({"log": ["in"], "once": "in"}, {"recursion_limit": 9})
    ours, seen_here = steps(petiole, Ours, petiole.Overwrite)
    here = ours.compile().invoke({"log": ["in"], "once": "in"}, {"recursion_limit": 9})
    assert here == there
    assert sorted(map(str, seen_here)) == sorted(map(str, seen_there))


def test_langgraphs_own_classes_are_taken_for_ours() -> None:
    ours, seen_ours = steps(petiole, Ours, petiole.Overwrite)
    theirs, seen_theirs = steps(petiole, Theirs, langgraph_types.Overwrite)
    assert theirs.compile().invoke({"log": []}) == ours.compile().invoke({"log": []})
    assert sorted(map(str, seen_ours)) == sorted(map(str, seen_theirs))
    assert {n: c.label for n, c in theirs.channels.items()} == {n: c.label for n, c in ours.channels.items()}


@pytest.mark.parametrize("limit", [3, 4, 5])
def test_managed_values_count_down_to_the_limit(limit: int) -> None:
    def build(library: Any, schema: Any) -> tuple[Any, list[Any]]:
        seen: list[Any] = []
        graph = library.StateGraph(schema)

        def node(state: Any) -> None:
            seen.append((state["last"], state["left"]))

        def route(state: Any) -> str:
            seen.append((state["last"], state["left"]))
            return END if state["left"] < 3 else "a"

        graph.add_node("a", node).add_edge(START, "a").add_conditional_edges("a", route)
        return graph.compile(), seen

    theirs, there = build(langgraph_graph, Theirs)
    ours, here = build(petiole, Ours)
    for _ in range(2):
        theirs.invoke({"log": []}, {"recursion_limit": limit})
        ours.invoke({"log": []}, {"recursion_limit": limit})
    assert here == there


def test_an_untracked_value_ends_with_its_run() -> None:
    graph = StateGraph(Ours).add_node("a", lambda s: {"run": "secret"}).add_edge(START, "a").definition()
    first = drive(graph, {"log": []})
    assert first[-1].values["run"] == "secret"
    assert "run" not in drive(graph, {"log": []}, base=first[-1])[-3].values


@pytest.mark.parametrize("key", ["once", "run", "plain", "log", "delta"])
def test_two_writes_where_one_is_taken_are_refused_by_both(key: str) -> None:
    def build(library: Any, schema: Any, overwrite: Any) -> Any:
        value = overwrite(["x"]) if key in ("log", "delta") else "x"
        graph = library.StateGraph(schema)
        for name in ("a", "b"):
            graph.add_node(name, lambda state: {key: value}).add_edge(START, name)
        return graph.compile()

    with pytest.raises(langgraph_errors.InvalidUpdateError):
        build(langgraph_graph, Theirs, langgraph_types.Overwrite).invoke({"log": []})
    with pytest.raises(InvalidUpdateError, match=rf"key '{key}' was (over)?written 2 times.*'a', 'b'"):
        build(petiole, Ours, petiole.Overwrite).invoke({"log": []})


@pytest.mark.parametrize("first", [True, False])
def test_an_overwrite_drops_the_writes_beside_it(first: bool) -> None:
    def build(library: Any, overwrite: Any) -> Any:
        graph = library.StateGraph(Theirs)
        over, plain = ("a", "b") if first else ("b", "a")
        graph.add_node(over, lambda state: {"log": overwrite(["over"])}).add_edge(START, over)
        graph.add_node(plain, lambda state: {"log": ["plain"]}).add_edge(START, plain)
        graph.add_conditional_edges(over, lambda s: END if s["log"] == ["over"] else over)
        return graph.compile()

    ours = build(petiole, petiole.Overwrite).invoke({"log": ["in"]})
    assert ours == build(langgraph_graph, langgraph_types.Overwrite).invoke({"log": ["in"]})
    assert ours["log"] == ["over"]


def test_an_overwrite_of_what_has_no_value_yet_or_no_reducer_sets_it() -> None:
    """LangGraph stores the Overwrite object itself there."""

    class State(TypedDict, total=False):
        maybe: Annotated[list[str] | None, operator.add]
        plain: str

    graph = StateGraph(State).add_edge(START, "a")
    graph.add_node("a", lambda s: {"maybe": petiole.Overwrite(["x"]), "plain": petiole.Overwrite("y")})
    assert graph.compile().invoke({}) == {"maybe": ["x"], "plain": "y"}


def test_an_input_may_overwrite() -> None:
    graph = StateGraph(Ours).add_node("a", lambda s: {"log": ["a"]}).add_edge(START, "a")
    compiled = graph.compile("memory://")
    config = {"configurable": {"thread_id": "1"}}
    compiled.invoke({"log": ["one"]}, config)
    assert compiled.invoke({"log": petiole.Overwrite(["two"])}, config)["log"] == ["two", "a"]


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        (Annotated[list[str], petiole.BinaryOperatorAggregate], "without a reducer"),
        (Annotated[str, channels.NamedBarrierValue(str, {"a"})], "NamedBarrierValue"),
    ],
)
def test_a_channel_that_cannot_be_had_is_refused_by_name(annotation: Any, message: str) -> None:
    class Schema(TypedDict):
        key: str

    Schema.__annotations__["key"] = annotation
    with pytest.raises(GraphValidationError, match=message):
        StateGraph(Schema)


def test_a_managed_value_in_an_input_schema_is_refused() -> None:
    class Input(TypedDict):
        left: petiole.RemainingSteps

    with pytest.raises(GraphValidationError, match=r"'left'.*the engine fills in"):
        StateGraph(Ours, input_schema=Input)

"""The superstep: order, joins, deferred nodes, limits, and what it must leave alone."""

from __future__ import annotations

import copy
import operator
import random
from typing import Annotated, Any, TypedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from petiole_stores.errors import GraphRecursionError, InputError, InvalidUpdateError
from petiole_workers.graph import (
    END,
    START,
    Command,
    GraphDefinition,
    Runtime,
    Send,
    StateGraph,
    TaskOutput,
    TaskSpec,
    TimeoutPolicy,
    advance,
    begin,
    result,
    stop_step,
    task_input,
    task_output,
)
from tests.unit.graph.driver import drive


def extend(current: list[Any], update: list[Any]) -> list[Any]:
    """A reducer that works in place, as authors' do."""
    current.extend(update)
    return current


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    grown: Annotated[list[str], extend]
    maybe: Annotated[list[str] | None, extend]
    last: str
    turns: int


def say(name: str) -> Any:
    return lambda state: {"log": [name]}


def build(*names: str, defer: str = "") -> StateGraph:
    graph = StateGraph(State)
    for name in names:
        graph.add_node(name, say(name), defer=name == defer)
    return graph


def fan(*names: str) -> GraphDefinition:
    graph = build(*names)
    for name in names:
        graph.add_edge(START, name)
    return graph.definition()


@given(st.permutations(["pull:a", "pull:b", "push:0000000000", "push:0000000001", "push:0000000010"]))
def test_the_order_of_paths_decides_not_that_of_finishing(order: list[str]) -> None:
    graph = fan("a", "b")
    _, base = begin(graph, None, {})
    outputs = [
        TaskOutput(path, "a", (("log", [path]), ("grown", [path]), ("maybe", [path]))) for path in order
    ]
    snapshot = advance(graph, base, outputs, stop=None)
    assert snapshot.values["log"] == snapshot.values["grown"] == snapshot.values["maybe"] == sorted(order)


@given(st.randoms(use_true_random=False))
def test_any_order_of_finishing_gives_the_same_history(shuffle: random.Random) -> None:
    graph = build("a", "b", "c", "d")
    graph.add_conditional_edges(START, lambda state: ["a", Send("b", {}), Send("c", {}), "c"])
    for name in ("a", "b", "c"):
        graph.add_edge(name, "d")
    definition = graph.definition()
    assert drive(definition, {}, shuffle=shuffle) == drive(definition, {})


@given(st.lists(st.lists(st.text(max_size=2), max_size=3), min_size=1, max_size=4))
def test_advance_leaves_base_and_outputs_alone(writes: list[list[str]]) -> None:
    graph = fan("a")
    _, base = begin(graph, None, {"grown": ["x"], "maybe": ["y"]})
    outputs = [
        TaskOutput(f"push:{i:010d}", "a", (("grown", write), ("maybe", write), ("log", write)))
        for i, write in enumerate(writes)
    ]
    before = copy.deepcopy((base, outputs))
    first = advance(graph, base, outputs, stop=None)
    assert (base, outputs) == before
    assert advance(graph, base, outputs, stop=None) == first


def test_a_router_sees_its_own_tasks_writes_only() -> None:
    seen = {}
    graph = build("a", "b")
    graph.add_edge(START, "a").add_edge(START, "b")

    def look(name: str) -> Any:
        def path(state: State) -> str:
            seen[name] = list(state["log"])
            return END

        return path

    graph.add_conditional_edges("a", look("a")).add_conditional_edges("b", look("b"))
    drive(graph.definition(), {"log": ["in"]})
    assert seen == {"a": ["in", "a"], "b": ["in", "b"]}


def test_two_writes_to_a_plain_key_name_key_and_writers() -> None:
    graph = fan("a", "b")
    _, base = begin(graph, None, {})
    outputs = [TaskOutput(f"pull:{name}", name, (("last", name),)) for name in "ab"]
    with pytest.raises(InvalidUpdateError, match=r"'last' was written 2 times.*'a', 'b'.*Annotated"):
        advance(graph, base, outputs, stop=None)


def test_a_join_waits_over_several_steps_and_fires_once() -> None:
    graph = build("a", "b", "c", "end")
    graph.add_edge(START, "a").add_edge(START, "b").add_edge("b", "c").add_edge(["a", "c"], "end")
    history = drive(graph.definition(), {})
    assert history[-1].values["log"] == ["a", "b", "c", "end"]
    assert history[2].control["joins"] == {'[["a","c"],"end"]': ["a"]}
    assert "joins" not in history[3].control


@given(st.integers(1, 5), st.integers(0, 3))
def test_a_join_in_a_loop_fires_once_a_turn(turns: int, length: int) -> None:
    graph = StateGraph(State)
    graph.add_node("head", lambda state: {"turns": state.get("turns", 0) + 1, "log": ["head"]})
    graph.add_node("short", say("short")).add_node("end", say("end"))
    graph.add_edge(START, "head").add_edge("head", "short")
    previous = "head"
    for name in [f"long{i}" for i in range(length + 1)]:
        graph.add_node(name, say(name)).add_edge(previous, name)
        previous = name
    graph.add_edge(["short", previous], "end")
    graph.add_conditional_edges("end", lambda state: "head" if state["turns"] < turns else END)
    log = drive(graph.definition(), {})[-1].values["log"]
    assert log.count("end") == log.count("head") == turns


def test_a_deferred_node_waits_for_the_longest_path() -> None:
    graph = build("a", "b", "c", "z", defer="z")
    graph.add_edge(START, "a").add_edge(START, "b").add_edge("a", "z").add_edge("b", "c").add_edge("c", "z")
    history = drive(graph.definition(), {})
    assert history[-1].values["log"] == ["a", "b", "c", "z"]
    assert history[2].control["deferred"] == ["z"]
    assert "deferred" not in history[-1].control


def test_a_reached_limit_is_an_error_naming_what_was_next() -> None:
    graph = build("a").add_edge(START, "a").add_edge("a", "a").definition()
    with pytest.raises(GraphRecursionError, match=r"may take 3.*next: a"):
        drive(graph, {}, limit=3)
    with pytest.raises(InputError, match="recursion_limit is 0"):
        stop_step(None, 0)


@pytest.mark.parametrize("answer", [None, START, "nobody", 3, Send("nobody", {}), Send(END, {})])
def test_a_router_that_leads_nowhere_is_an_error(answer: Any) -> None:
    graph = build("a")
    graph.add_conditional_edges(START, lambda state: answer)
    with pytest.raises(InvalidUpdateError, match=r"router 'condition' of '__start__'.*'a'"):
        begin(graph.definition(), None, {})


def test_a_sends_timeout_goes_with_the_task_that_it_makes() -> None:
    graph = build("a")
    graph.add_conditional_edges(START, lambda state: [Send("a", 1, timeout=2), Send("a", 2), "a"])
    planned = begin(graph.definition(), None, {})[1].next
    assert [task.timeout for task in planned] == [None, TimeoutPolicy(run_timeout=2.0), None]


def test_a_sends_timeout_is_refused_for_a_node_that_is_a_graph() -> None:
    inner = build("x").add_edge(START, "x").compile()
    graph = build("a").add_node("within", inner)
    graph.add_conditional_edges(START, lambda state: Send("within", {}, timeout=2))
    with pytest.raises(
        InvalidUpdateError, match=r"router 'condition'.*'within' with the timeout.*is a graph"
    ):
        begin(graph.definition(), None, {})
    command = Command(goto=[Send("within", {}), Send("within", {}, timeout=2)])
    with pytest.raises(InvalidUpdateError, match=r"Command of node 'a'.*'within' with the timeout"):
        task_output(graph.definition(), TaskSpec("pull:a", "a"), command)


def test_a_path_map_translates_and_refuses_other_answers() -> None:
    graph = build("a")
    graph.add_conditional_edges(START, lambda state: state.get("last") == "go", {True: "a"})
    definition = graph.definition()
    assert [task.node for task in begin(definition, None, {"last": "go"})[1].next] == ["a"]
    with pytest.raises(InvalidUpdateError, match=r"answered False.*answer one of True"):
        begin(definition, None, {})


def test_an_async_router_may_take_the_runtime() -> None:
    graph = build("a", "b")

    async def path(state: State, runtime: Runtime) -> str:
        return "b" if (runtime.thread_id, runtime.node) == ("t", START) else "a"

    definition = graph.add_conditional_edges(START, path).definition()
    assert [t.node for t in begin(definition, None, {}, runtime=Runtime(thread_id="t"))[1].next] == ["b"]


def test_a_second_run_goes_on_with_the_threads_state() -> None:
    graph = fan("a")
    first = drive(graph, {"last": "one"})
    second = drive(graph, {"log": ["more"]}, base=first[-1])
    assert [s.step for s in first + second] == [-1, 0, 1, 2, 3, 4]
    assert result(graph, second[-1].values)["log"] == ["a", "more", "a"]
    assert result(graph, second[-1].values)["last"] == "one"


def test_none_is_no_input_and_an_empty_dict_is() -> None:
    graph = fan("a")
    with pytest.raises(InputError, match="without an input"):
        begin(graph, None, None)
    assert begin(graph, None, {})[1].next[0].node == "a"


def test_a_send_gives_its_argument_as_it_is() -> None:
    graph = build("a")
    definition = graph.add_conditional_edges(START, lambda state: Send("a", [1])).definition()
    _, base = begin(definition, None, {})
    assert task_input(definition, base, base.next[0]) == [1]

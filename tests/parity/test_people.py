"""Interrupts, answers, updates by hand, forks and subgraphs: each script sees the same on Petiole and on LangGraph 1.2."""

from __future__ import annotations

import operator
from collections.abc import Callable
from types import SimpleNamespace
from typing import Annotated, Any, TypedDict

import pytest

from tests.parity.libraries import Diary, langgraph, petiole, plain

Script = Callable[[SimpleNamespace, Diary], None]


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    x: int


class Inner(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    y: int


class Outer(TypedDict, total=False):
    log: list[str]
    x: int


class Rounds(TypedDict, total=False):
    log: list[str]
    rounds: Annotated[int, operator.add]


def asking(lib: SimpleNamespace) -> Any:
    """a, then two (which asks) beside sib, then z once both are through."""
    graph = lib.StateGraph(State)
    graph.add_node("a", lambda state: {"log": ["a"]})
    graph.add_node("two", lambda state: {"log": [f"two {lib.interrupt('who?')}"]})
    graph.add_node("sib", lambda state: {"log": ["sib"]})
    graph.add_node("z", lambda state: {"log": ["z"]})
    graph.add_edge(lib.START, "a")
    graph.add_edge("a", "two")
    graph.add_edge("a", "sib")
    graph.add_edge(["two", "sib"], "z")
    return graph


def an_answer(lib: SimpleNamespace, diary: Diary) -> None:
    graph = asking(lib).compile(checkpointer=lib.checkpointer)
    diary.invoked(graph.invoke({"x": 1}, diary.config))
    diary.looked(graph)
    diary.invoked(graph.invoke(None, diary.config))
    diary.looked(graph)
    diary.invoked(graph.invoke(lib.Command(resume="Ann"), diary.config))
    diary.looked(graph)


def an_update_of_the_interrupted(lib: SimpleNamespace, diary: Diary) -> None:
    graph = asking(lib).compile(checkpointer=lib.checkpointer)
    diary.invoked(graph.invoke({"x": 1}, diary.config))
    graph.update_state(diary.config, {"x": 7}, as_node="a")
    diary.looked(graph)
    diary.invoked(graph.invoke(None, diary.config))
    diary.looked(graph)
    diary.invoked(graph.invoke(lib.Command(resume="Ann"), diary.config))
    graph.update_state(diary.config, {"x": 8})
    diary.looked(graph)


def a_fork_by_an_update(lib: SimpleNamespace, diary: Diary) -> None:
    graph = asking(lib).compile(checkpointer=lib.checkpointer)
    graph.invoke({"x": 1}, diary.config)
    graph.invoke(lib.Command(resume="Ann"), diary.config)
    old = next(it for it in graph.get_state_history(diary.config) if it.metadata["step"] == 1)
    graph.update_state(old.config, {"log": ["by hand"]}, as_node="sib")
    diary.looked(graph)
    diary.invoked(graph.invoke(None, diary.config))
    graph.update_state(old.config, {"log": ["another"]}, as_node="two")
    diary.looked(graph)
    graph.update_state(diary.config, {"log": ["again"]}, as_node="__start__")
    diary.looked(graph)
    graph.update_state(diary.config, None, as_node=lib.END)
    diary.looked(graph)
    diary.invoked(graph.invoke(None, old.config))
    diary.looked(graph)


def updates_in_bulk(lib: SimpleNamespace, diary: Diary) -> None:
    graph = asking(lib).compile(checkpointer=lib.checkpointer)
    graph.bulk_update_state(
        diary.config,
        [
            [({"x": 3}, "__input__", None)],
            [({"log": ["a"]}, "a", None)],
            [({"log": ["two"]}, "two", None), ({"log": ["sib"]}, "sib", None)],
        ],
    )
    diary.looked(graph)
    diary.invoked(graph.invoke(None, diary.config))


def stops(lib: SimpleNamespace, diary: Diary) -> None:
    graph = asking(lib).compile(checkpointer=lib.checkpointer, interrupt_before=["z"], interrupt_after=["a"])
    diary.invoked(graph.invoke({"x": 1}, diary.config))
    diary.looked(graph)
    diary.invoked(graph.invoke(None, diary.config))
    diary.looked(graph)
    diary.invoked(graph.invoke(lib.Command(resume="Ann"), diary.config))
    diary.looked(graph)
    graph.update_state(diary.config, {"x": 2}, as_node="two")
    diary.looked(graph)
    diary.invoked(graph.invoke(None, diary.config))
    diary.looked(graph)


def answers_by_id(lib: SimpleNamespace, diary: Diary) -> None:
    graph = lib.StateGraph(State)
    graph.add_node("ask", lambda state: {"log": [f"{state['x']} {lib.interrupt(state['x'])}"]})
    graph.add_conditional_edges(lib.START, lambda state: [lib.Send("ask", {"x": i}) for i in range(3)])
    compiled = graph.compile(checkpointer=lib.checkpointer)
    returned = diary.invoked(compiled.invoke({"x": 0}, diary.config))
    ids = {it.value: it.id for it in returned["__interrupt__"]}
    diary.invoked(compiled.invoke(lib.Command(resume={ids[1]: "one"}), diary.config))
    diary.looked(compiled)
    diary.invoked(compiled.invoke(lib.Command(resume={ids[0]: "nil", ids[2]: "two"}), diary.config))
    diary.looked(compiled)


def several_questions_of_one_node(lib: SimpleNamespace, diary: Diary) -> None:
    def ask(state: State) -> dict[str, Any]:
        name = lib.interrupt("name?")
        try:
            age = lib.interrupt({"of": name})
        except ValueError:
            age = "none"
        return {"log": [f"{name} {age}"]}

    graph = lib.StateGraph(State)
    graph.add_node("ask", ask)
    graph.add_edge(lib.START, "ask")
    compiled = graph.compile(checkpointer=lib.checkpointer)
    diary.invoked(compiled.invoke({"x": 0}, diary.config))
    diary.invoked(compiled.invoke(lib.Command(resume="Ann"), diary.config))
    diary.looked(compiled)
    diary.invoked(compiled.invoke(lib.Command(resume=41), diary.config))
    diary.looked(compiled)


def graphs_in_graphs(lib: SimpleNamespace, diary: Diary) -> None:
    inner = lib.StateGraph(Inner)
    inner.add_node("i1", lambda state: {"y": state.get("y", 0) + 1, "log": ["i1"]})
    inner.add_node("i2", lambda state: {"log": [f"i2 {lib.interrupt('who?')}"]})
    inner.add_edge(lib.START, "i1")
    inner.add_edge("i1", "i2")
    middle = lib.StateGraph(Inner)
    middle.add_node("m1", lambda state: {"log": ["m1"]})
    middle.add_node("inner", inner.compile())
    middle.add_edge(lib.START, "m1")
    middle.add_edge("m1", "inner")
    outer = lib.StateGraph(Outer)
    outer.add_node("middle", middle.compile())
    outer.add_node("beside", lambda state: {"x": 5})
    outer.add_edge(lib.START, "middle")
    outer.add_edge(lib.START, "beside")
    graph = outer.compile(checkpointer=lib.checkpointer)
    diary.invoked(graph.invoke({"log": ["in"]}, diary.config))
    diary.looked(graph)
    diary.looked(graph, subgraphs=True)
    diary.invoked(graph.invoke(lib.Command(resume="Ann"), diary.config))
    diary.looked(graph)


def a_subgraph_by_hand(lib: SimpleNamespace, diary: Diary) -> None:
    inner = lib.StateGraph(Inner)
    inner.add_node("i1", lambda state: {"y": 1, "log": ["i1"]})
    inner.add_node("i2", lambda state: {"log": [f"i2 {state['y']} {lib.interrupt('who?')}"]})
    inner.add_edge(lib.START, "i1")
    inner.add_edge("i1", "i2")
    outer = lib.StateGraph(Outer)
    outer.add_node("inner", inner.compile())
    outer.add_edge(lib.START, "inner")
    graph = outer.compile(checkpointer=lib.checkpointer)
    graph.invoke({"log": ["in"]}, diary.config)
    state = graph.get_state(diary.config, subgraphs=True)
    graph.update_state(state.tasks[0].state.config, {"y": 9}, as_node="i1")
    # LangGraph goes on showing the question that is no more at the root.
    diary.seen.append(plain(graph.get_state(diary.config, subgraphs=True).tasks[0].state))
    diary.invoked(graph.invoke(None, diary.config))
    diary.invoked(graph.invoke(lib.Command(resume="Ann"), diary.config))
    diary.looked(graph)


def a_command_to_the_parent(lib: SimpleNamespace, diary: Diary) -> None:
    def leave(state: Inner) -> Any:
        return lib.Command(graph=lib.Command.PARENT, update={"x": 9, "log": ["left"]}, goto="other")

    inner = lib.StateGraph(Inner)
    inner.add_node("first", lambda state: {"log": ["first"]})
    inner.add_node("leave", leave)
    inner.add_node("never", lambda state: {"log": ["never"]})
    inner.add_edge(lib.START, "first")
    inner.add_edge("first", "leave")
    inner.add_edge("leave", "never")
    outer = lib.StateGraph(Outer)
    outer.add_node("inner", inner.compile())
    outer.add_node("other", lambda state: {"log": [*state["log"], "other"]})
    outer.add_edge(lib.START, "inner")
    graph = outer.compile(checkpointer=lib.checkpointer)
    diary.invoked(graph.invoke({"log": []}, diary.config))
    diary.looked(graph)


def a_failure_inside(lib: SimpleNamespace, diary: Diary) -> None:
    tries: list[int] = []

    def fragile(state: Inner) -> dict[str, Any]:
        tries.append(1)
        if len(tries) == 1:
            raise ValueError("broken")
        return {"log": ["mended"]}

    inner = lib.StateGraph(Inner)
    inner.add_node("before", lambda state: {"log": ["before"]})
    inner.add_node("fragile", fragile)
    inner.add_edge(lib.START, "before")
    inner.add_edge("before", "fragile")
    outer = lib.StateGraph(Outer)
    outer.add_node("inner", inner.compile())
    outer.add_node("after", lambda state: {"x": 1})
    outer.add_edge(lib.START, "inner")
    outer.add_edge("inner", "after")
    graph = outer.compile(checkpointer=lib.checkpointer)
    try:
        graph.invoke({"log": []}, diary.config)
    except ValueError as error:
        diary.raised(error)
    diary.invoked(graph.invoke(None, diary.config))
    diary.seen.append(len(tries))
    diary.looked(graph)


def a_graph_with_a_memory(lib: SimpleNamespace, diary: Diary) -> None:
    inner = lib.StateGraph(Inner)
    inner.add_node("count", lambda state: {"y": state.get("y", 0) + 1, "log": [f"{state.get('y', 0)}"]})
    inner.add_edge(lib.START, "count")
    outer = lib.StateGraph(Outer)
    outer.add_node("inner", inner.compile(checkpointer=True))
    outer.add_edge(lib.START, "inner")
    graph = outer.compile(checkpointer=lib.checkpointer)
    for _ in range(3):
        diary.invoked(graph.invoke({"log": []}, diary.config))


def a_graph_with_a_memory_that_is_left(lib: SimpleNamespace, diary: Diary) -> None:
    """It is left at every other visit, in the midst of a join, and goes on from there."""

    def leave(state: Inner) -> Any:
        if state["y"] % 2:
            return lib.Command(graph=lib.Command.PARENT, update={"log": [f"left {state['y']}"]}, goto="other")
        return {"log": ["stayed"]}

    inner = lib.StateGraph(Inner)
    inner.add_node("count", lambda state: {"y": state.get("y", 0) + 1, "log": ["count"]})
    inner.add_node("leave", leave)
    inner.add_node("joined", lambda state: {"log": ["joined"]})
    inner.add_edge(lib.START, "count")
    inner.add_edge("count", "leave")
    inner.add_edge(["count", "leave"], "joined")
    outer = lib.StateGraph(Rounds)
    outer.add_node("inner", inner.compile(checkpointer=True))
    outer.add_node("other", lambda state: {"rounds": 1})
    outer.add_edge(lib.START, "inner")
    outer.add_edge("inner", "other")
    outer.add_conditional_edges("other", lambda state: "inner" if state["rounds"] % 3 else lib.END)
    graph = outer.compile(checkpointer=lib.checkpointer)
    for number in range(3):
        diary.invoked(graph.invoke({"log": [f"in {number}"]}, diary.config))
        diary.looked(graph)


def a_graph_within_its_node(lib: SimpleNamespace, diary: Diary) -> None:
    inner = lib.StateGraph(Inner)
    inner.add_node("count", lambda state: {"log": ["counted"]})
    inner.add_edge(lib.START, "count")
    outer = lib.StateGraph(Outer)
    outer.add_node("inner", inner.compile(checkpointer=False))
    outer.add_edge(lib.START, "inner")
    graph = outer.compile(checkpointer=lib.checkpointer)
    diary.invoked(graph.invoke({"log": ["in"]}, diary.config))
    diary.looked(graph)


def a_graph_that_a_node_calls(lib: SimpleNamespace, diary: Diary) -> None:
    inner = lib.StateGraph(Inner)
    inner.add_node("count", lambda state: {"log": ["counted"]})
    inner.add_node("ask", lambda state: {"log": [f"{lib.interrupt('first?')} {lib.interrupt('second?')}"]})
    inner.add_edge(lib.START, "count")
    inner.add_edge("count", "ask")
    called = inner.compile()

    def call(state: Outer) -> dict[str, Any]:
        return {"log": called.invoke({"log": state["log"]})["log"]}

    outer = lib.StateGraph(Outer)
    outer.add_node("call", call)
    outer.add_edge(lib.START, "call")
    graph = outer.compile(checkpointer=lib.checkpointer)
    diary.invoked(graph.invoke({"log": ["in"]}, diary.config))
    diary.invoked(graph.invoke(lib.Command(resume="one"), diary.config))
    diary.invoked(graph.invoke(lib.Command(resume="two"), diary.config))


def many_graphs_at_once(lib: SimpleNamespace, diary: Diary) -> None:
    inner = lib.StateGraph(Inner)
    inner.add_node("one", lambda state: {"log": [f"one {state['y']}"]})
    inner.add_node(
        "two", lambda state: {"log": [f"two {lib.interrupt(state['y'])}"] if state["y"] == 1 else ["two"]}
    )
    inner.add_edge(lib.START, "one")
    inner.add_edge("one", "two")
    outer = lib.StateGraph(State)
    outer.add_node("inner", inner.compile())
    outer.add_node("end", lambda state: {"x": len(state["log"])})
    outer.add_conditional_edges(lib.START, lambda state: [lib.Send("inner", {"y": i}) for i in range(3)])
    outer.add_edge("inner", "end")
    graph = outer.compile(checkpointer=lib.checkpointer)
    diary.invoked(graph.invoke({"x": 0}, diary.config))
    diary.looked(graph)
    diary.invoked(graph.invoke(lib.Command(resume="Ann"), diary.config))
    diary.looked(graph)


def a_goto_on_a_thread_that_ended(lib: SimpleNamespace, diary: Diary) -> None:
    graph = lib.StateGraph(State)
    graph.add_node("a", lambda state: {"log": ["a"]})
    graph.add_node("b", lambda state: {"log": [f"b {state['x']}"]})
    graph.add_edge(lib.START, "a")
    compiled = graph.compile(checkpointer=lib.checkpointer)
    diary.invoked(compiled.invoke({"x": 0}, diary.config))
    diary.invoked(compiled.invoke(lib.Command(update={"x": 4}, goto="b"), diary.config))


def an_answer_with_an_update(lib: SimpleNamespace, diary: Diary) -> None:
    graph = lib.StateGraph(State)
    graph.add_node("ask", lambda state: {"log": [f"{lib.interrupt('who?')} {state['x']}"]})
    graph.add_edge(lib.START, "ask")
    compiled = graph.compile(checkpointer=lib.checkpointer)
    diary.invoked(compiled.invoke({"x": 0}, diary.config))
    diary.invoked(compiled.invoke(lib.Command(resume="Ann", update={"x": 4}), diary.config))


def the_recursion_limit(lib: SimpleNamespace, diary: Diary) -> None:
    """Reached in the middle, at the very end, and by forks; whoever goes on has it anew."""
    graph = lib.StateGraph(State)
    graph.add_node("a", lambda state: {"x": state["x"] + 1})
    graph.add_node("z", lambda state: {"log": [str(state["x"])]})
    graph.add_edge(lib.START, "a")
    graph.add_conditional_edges("a", lambda state: "a" if state["x"] < 12 else "z")
    compiled = graph.compile(checkpointer=lib.checkpointer)

    def call(given: Any, config: Any) -> None:
        try:
            diary.invoked(compiled.invoke(given, {**config, "recursion_limit": 3}))
        except RecursionError as error:  # both are one
            diary.seen.append(type(error).__name__)
        diary.seen.append([plain(it, tasks=False) for it in compiled.get_state_history(diary.config)])

    for given in ({"x": 0}, None, None, None):
        call(given, diary.config)
    for step in (-1, 2, 8):
        [old] = [it for it in compiled.get_state_history(diary.config) if it.metadata["step"] == step][-1:]
        call(None, old.config)
    call({"x": 11}, diary.config)


SCRIPTS: list[Script] = [
    an_answer, an_update_of_the_interrupted, a_fork_by_an_update, updates_in_bulk, stops, answers_by_id,
    several_questions_of_one_node, graphs_in_graphs, a_subgraph_by_hand, a_command_to_the_parent, a_failure_inside,
    a_graph_with_a_memory, a_graph_with_a_memory_that_is_left, a_graph_within_its_node, a_graph_that_a_node_calls, many_graphs_at_once, a_goto_on_a_thread_that_ended,
    an_answer_with_an_update, the_recursion_limit,
]  # fmt: skip


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.__name__)
def test_both_see_the_same(script: Script) -> None:
    seen = []
    for library in (petiole, langgraph):
        diary = Diary({"configurable": {"thread_id": "t"}})
        script(library(), diary)
        seen.append(diary.seen)
    ours, theirs = seen
    for number, (one, other) in enumerate(zip(ours, theirs, strict=True)):
        assert one == other, number

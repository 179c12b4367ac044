"""The graph of the matrix: each kind of hop once, and a journal of what was executed."""

from __future__ import annotations

import operator
import os
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, TypedDict

from petiole_workers.compiled import CompiledGraph
from petiole_workers.graph import END, START, RetryPolicy, Runtime, Send, StateGraph, interrupt


class State(TypedDict, total=False):
    journal: str
    n: int
    log: Annotated[list[str], operator.add]


class Trouble(Exception):
    """A passing one."""


def note(path: str, node: str) -> int:
    """Write an execution down (one append, however the process ends); gives how many there were of this node."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(handle, f"{node}\n".encode())
    finally:
        os.close(handle)
    return executions(path)[node]


def executions(path: str) -> Counter[str]:
    file = Path(path)
    return Counter(file.read_text().split()) if file.exists() else Counter()


def first(state: State) -> dict[str, Any]:
    note(state["journal"], "first")
    return {"n": 1, "log": ["first"]}


def branch(arg: dict[str, Any]) -> dict[str, Any]:
    note(arg["journal"], f"branch{arg['number']}")
    return {"log": [f"branch{arg['number']}"]}


def flaky(state: State) -> dict[str, Any]:
    """Fails at its first execution; its retry leaves the worker."""
    if note(state["journal"], "flaky") == 1:
        raise Trouble("the first time always fails")
    return {"n": state["n"] + 1, "log": ["flaky", "x" * 5000]}


def nap(state: State, runtime: Runtime) -> dict[str, Any]:
    note(state["journal"], "nap")
    runtime.heartbeat({"at": "nap"})
    runtime.sleep(0.05)
    return {"log": ["nap"]}


def broken(state: State) -> dict[str, Any]:
    """Fails until somebody mends it: a file beside the journal."""
    note(state["journal"], "broken")
    if not Path(state["journal"] + ".mended").exists():
        raise ValueError("not mended yet")
    return {"log": ["broken"]}


def last(state: State) -> dict[str, Any]:
    note(state["journal"], "last")
    return {"log": ["last"]}


class Notes(TypedDict, total=False):
    journal: str
    notes: Annotated[list[str], operator.add]


class Asking(State, total=False):
    notes: list[str]


def before(state: Notes) -> dict[str, Any]:
    note(state["journal"], "before")
    return {"notes": ["before"]}


def ask(state: Notes) -> dict[str, Any]:
    note(state["journal"], "ask")
    return {"notes": [f"ask {interrupt('well?')}"]}


def beside(state: Asking) -> dict[str, Any]:
    note(state["journal"], "beside")
    return {"log": ["beside"]}


RETRY = RetryPolicy(initial_interval=0.02, jitter=False, retry_on=Trouble)


def build() -> CompiledGraph:
    """first -> two branches -> flaky (a parked retry) -> nap (a timer) -> last."""
    graph = StateGraph(State)
    graph.add_node("first", first)
    graph.add_node("branch", branch)
    graph.add_node("flaky", flaky, retry_policy=RETRY)
    graph.add_node("nap", nap)
    graph.add_node("last", last)
    graph.add_edge(START, "first")
    graph.add_conditional_edges(
        "first",
        lambda state: [Send("branch", {"journal": state["journal"], "number": n}) for n in (0, 1)],
        ["branch"],
    )
    graph.add_edge("branch", "flaky")
    graph.add_edge("flaky", "nap")
    graph.add_edge("nap", "last")
    graph.add_edge("last", END)
    return graph.compile(name="points")


def build_broken() -> CompiledGraph:
    """first -> broken -> last, with a stop before the last."""
    graph = StateGraph(State)
    for name, node in (("first", first), ("broken", broken), ("last", last)):
        graph.add_node(name, node)
    graph.add_edge(START, "first")
    graph.add_edge("first", "broken")
    graph.add_edge("broken", "last")
    graph.add_edge("last", END)
    return graph.compile(name="broken", interrupt_before=["last"])


def build_asking() -> CompiledGraph:
    """first -> a graph (before -> ask, which waits for an answer) and beside it a node -> last."""
    inner = StateGraph(Notes)
    inner.add_node("before", before)
    inner.add_node("ask", ask)
    inner.add_edge(START, "before")
    inner.add_edge("before", "ask")
    graph = StateGraph(Asking)
    graph.add_node("first", first)
    graph.add_node("inner", inner.compile())
    graph.add_node("beside", beside)
    graph.add_node("last", last)
    graph.add_edge(START, "first")
    graph.add_edge("first", "inner")
    graph.add_edge("first", "beside")
    graph.add_edge(["inner", "beside"], "last")
    graph.add_edge("last", END)
    return graph.compile(name="asking")

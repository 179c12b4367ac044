"""Versions of one graph, side by side: ``first`` waits at a gate, then ``old`` (which version 2 has no more) or ``last``."""

from __future__ import annotations

import operator
from typing import Annotated, Any, Literal, TypedDict

from petiole_workers.graph import END, START, Runtime, StateGraph
from tests.graphs import work


class State(TypedDict, total=False):
    """State: the nodes that ran, each with the version that it was of."""

    desk: str
    hold: str
    trail: Annotated[list[str], operator.add]


def build(version: str, versions: Literal["upgrade", "pin"], *nodes: str) -> Any:
    """These nodes one after the other."""

    def node(name: str) -> Any:
        def run(state: State, runtime: Runtime) -> State:
            work(state, name, runtime)
            return {"trail": [f"{name} {version}"]}

        return run

    graph = StateGraph(State)
    for name in nodes:
        graph.add_node(name, node(name))
    for before, after in zip((START, *nodes), (*nodes, END), strict=True):
        graph.add_edge(before, after)
    return graph.compile(name="versioned", version=version, versions=versions)


pinned1, pinned2 = build("1", "pin", "first", "last"), build("2", "pin", "first", "last")
upgraded1, upgraded2 = build("1", "upgrade", "first", "last"), build("2", "upgrade", "first", "more", "last")
with_old = build("1", "upgrade", "first", "old", "last")
without_old = build("2", "upgrade", "first", "last")

"""Graphs as nodes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from petiole_workers.graph.definition import GraphDefinition
from petiole_workers.graph.parts import Subgraph


def as_subgraph(function: object) -> Subgraph | None:
    """What makes a compiled graph a node that the engine unfolds; ``None`` for functions, and for a graph that was compiled
    with ``checkpointer=False``: it runs within its node, as a function does."""
    definition = getattr(function, "definition", None)
    if not isinstance(definition, GraphDefinition):
        return None
    checkpointer = getattr(function, "checkpointing", None)
    return None if checkpointer is False else Subgraph(definition, persistent=checkpointer is True)


def within_its_node(function: object) -> object:
    """A graph that was compiled with ``checkpointer=False`` as a function; anything else as it is."""
    if not isinstance(getattr(function, "definition", None), GraphDefinition):
        return function
    graph: Any = function

    def run(state: Any) -> Any:
        return graph.invoke(state)

    return run


def placeholder(name: str) -> Callable[[Any], Any]:
    """The function of a node that is a graph."""

    def unfolded(state: Any) -> Any:
        raise AssertionError(f"node {name!r} is a graph: its nodes run in its place")

    return unfolded

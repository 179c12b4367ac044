"""The workloads as graphs. LangGraph's builder has the same face, so one function builds for both."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

from tests.benchmarks.workloads import (
    BIG_CHAIN,
    FANS,
    LONG_CHAIN,
    SHORT_CHAIN,
    WIDE_KEYS,
    count,
    edit,
    step,
    touch,
)


class Small(TypedDict, total=False):
    st: dict[str, Any]


class Big(TypedDict, total=False):
    n: int
    docs: list[dict[str, Any]]


class Fan(TypedDict, total=False):
    st: dict[str, Any]
    out: Annotated[list[int], operator.add]


Wide = TypedDict("Wide", {"n": int, **{f"key{number:02}": str for number in range(WIDE_KEYS)}}, total=False)  # type: ignore[misc]


def small_node(state: dict[str, Any]) -> dict[str, Any]:
    return {"st": step(state["st"])}


def leaf(state: dict[str, Any]) -> dict[str, Any]:
    return {"out": [step(state["st"])["n"]]}


def join(state: dict[str, Any]) -> dict[str, Any]:
    return {"st": {"n": sum(state["out"])}}


def build(library: Any, kind: str) -> Any:
    """An uncompiled graph: ``library`` has StateGraph, START, END and Send; ``kind`` is a key of ``CHAINS`` or of ``FANS``."""
    if kind in FANS:
        return _fan(library, FANS[kind])
    schema, node, length = CHAINS[kind]
    graph = library.StateGraph(schema)
    names = [f"n{number}" for number in range(length)]
    for name in names:
        graph.add_node(name, node)
    for source, target in zip([library.START, *names], [*names, library.END], strict=True):
        graph.add_edge(source, target)
    return graph


CHAINS: dict[str, tuple[Any, Callable[[dict[str, Any]], dict[str, Any]], int]] = {
    "long": (Small, small_node, LONG_CHAIN),
    "short": (Small, small_node, SHORT_CHAIN),
    "changed": (Big, edit, BIG_CHAIN),
    "unchanged": (Big, count, BIG_CHAIN),
    "wide": (Wide, touch, BIG_CHAIN),
    "wide_once": (Wide, touch, 1),
}


def _fan(library: Any, width: int) -> Any:
    graph = library.StateGraph(Fan)
    graph.add_node("first", small_node)
    graph.add_node("leaf", leaf)
    graph.add_node("join", join)
    graph.add_edge(library.START, "first")
    graph.add_conditional_edges(
        "first", lambda state: [library.Send("leaf", {"st": state["st"]}) for _ in range(width)], ["leaf"]
    )
    graph.add_edge("leaf", "join")
    graph.add_edge("join", library.END)
    return graph

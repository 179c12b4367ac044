"""A graph that maps over so many numbers, each branch a task of its own, and joins them; workers import it."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

from petiole_workers.graph import START, Send, StateGraph


class State(TypedDict, total=False):
    width: int
    squares: Annotated[list[int], operator.add]
    total: int


def branches(state: State) -> list[Send]:
    return [Send("square", {"n": number}) for number in range(state["width"])]


def square(state: dict[str, Any]) -> dict[str, Any]:
    return {"squares": [state["n"] ** 2]}


def join(state: State) -> dict[str, Any]:
    return {"total": sum(state["squares"])}


builder = StateGraph(State)
builder.add_node("square", square)
builder.add_node("join", join)
builder.add_conditional_edges(START, branches, ["square"])
builder.add_edge("square", "join")
graph = builder.compile(name="map_reduce")

"""Graphs of LangGraph's that the tests of the saver run."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AIMessage, AnyMessage
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, Send, interrupt

Saver = BaseCheckpointSaver[Any] | None
Graph = CompiledStateGraph[Any, Any, Any, Any]


class Log(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    left: int
    answer: str


def says(name: str) -> Callable[[Log], Log]:
    def node(state: Log) -> Log:
        return {"log": [name]}

    return node


def diamond(saver: Saver) -> Graph:
    """a, then b and c side by side, then d when both have ended, and e at the very end."""
    builder = StateGraph(Log)
    for name in "abcd":
        builder.add_node(name, says(name))
    builder.add_node("e", says("e"), defer=True)
    builder.add_edge(START, "a")
    builder.add_edge("a", "b")
    builder.add_edge("a", "c")
    builder.add_edge("a", "e")
    builder.add_edge(["b", "c"], "d")
    builder.add_edge("d", END)
    return builder.compile(checkpointer=saver)


def loop(saver: Saver) -> Graph:
    """Counts ``left`` down to 0, choosing the way with a Command each time."""

    def count(state: Log) -> Command[Any]:
        left = state["left"] - 1
        return Command(update={"left": left, "log": [str(left)]}, goto="count" if left else END)

    builder = StateGraph(Log)
    builder.add_node("count", count, destinations=("count", END))
    builder.add_edge(START, "count")
    return builder.compile(checkpointer=saver)


def fan(saver: Saver) -> Graph:
    """Sends itself ``left`` packets."""
    builder = StateGraph(Log)
    builder.add_node("work", lambda packet: {"log": [f"did {packet['number']}"]})
    builder.add_node("gather", says("gathered"))
    builder.add_conditional_edges(
        START, lambda state: [Send("work", {"number": n}) for n in range(state["left"])], ["work"]
    )
    builder.add_edge("work", "gather")
    return builder.compile(checkpointer=saver)


def asking(saver: Saver, *, before: list[str] | None = None) -> Graph:
    """a; then ``ask`` waits for two answers while ``b`` runs beside it; then c."""

    def ask(state: Log) -> Log:
        first = interrupt("first?")
        second = interrupt({"second": "?"})
        return {"answer": f"{first} {second}"}

    builder = StateGraph(Log)
    builder.add_node("a", says("a"))
    builder.add_node("b", says("b"))
    builder.add_node("ask", ask)
    builder.add_node("c", says("c"))
    builder.add_edge(START, "a")
    builder.add_edge("a", "b")
    builder.add_edge("a", "ask")
    builder.add_edge(["b", "ask"], "c")
    return builder.compile(checkpointer=saver, interrupt_before=before or [])


def nested(saver: Saver, *, remembers: bool | None = None) -> Graph:
    """outer, then a subgraph (first, ask, last) whose ``ask`` waits for an answer, then end.

    ``remembers``: the subgraph goes on from its own last state when it is called again (``checkpointer=True``).
    """

    def ask(state: Log) -> Log:
        return {"answer": interrupt("inner?"), "log": ["asked"]}

    inner = StateGraph(Log)
    inner.add_node("first", says("first"))
    inner.add_node("ask", ask)
    inner.add_node("last", says("last"))
    inner.add_edge(START, "first")
    inner.add_edge("first", "ask")
    inner.add_edge("ask", "last")
    builder = StateGraph(Log)
    builder.add_node("outer", says("outer"))
    builder.add_node("inner", inner.compile(checkpointer=remembers))
    builder.add_node("end", says("end"))
    builder.add_edge(START, "outer")
    builder.add_edge("outer", "inner")
    builder.add_edge("inner", "end")
    return builder.compile(checkpointer=saver)


class Failing:
    """A graph whose nodes a and b run side by side; b fails until ``sound`` is set. ``ran`` counts."""

    def __init__(self, saver: Saver) -> None:
        self.ran = {"a": 0, "b": 0}
        self.sound = False
        builder = StateGraph(Log)
        builder.add_node("a", self.a)
        builder.add_node("b", self.b)
        builder.add_edge(START, "a")
        builder.add_edge(START, "b")
        self.graph: Graph = builder.compile(checkpointer=saver)

    def a(self, state: Log) -> Log:
        self.ran["a"] += 1
        return {"log": ["a"]}

    def b(self, state: Log) -> Log:
        self.ran["b"] += 1
        if not self.sound:
            raise ValueError("b is broken")
        return {"log": ["b"]}


class Chat(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]


def chat(saver: Saver) -> Graph:
    """Answers each message with its length."""

    def answer(state: Chat) -> Chat:
        text = str(state["messages"][-1].content)
        return {"messages": [AIMessage(f"{len(text)} letters")]}

    builder = StateGraph(Chat)
    builder.add_node("answer", answer)
    builder.add_edge(START, "answer")
    return builder.compile(checkpointer=saver)

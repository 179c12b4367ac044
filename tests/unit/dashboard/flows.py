"""Graphs whose runs end in every way that a page has to show."""

from __future__ import annotations

import operator
from typing import Annotated, Any, TypedDict

from petiole import END, START, Fixed, Send, StateGraph, interrupt

#: A value that would run as a script if a page did not escape it.
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


class State(TypedDict, total=False):
    text: str
    fail: bool
    ask: bool
    parts: Annotated[list[int], operator.add]
    width: int
    answer: Any


def read(state: State) -> State:
    return {"text": state.get("text", "") + "!"}


def check(state: State) -> State:
    if state.get("fail"):
        raise ValueError(f"cannot check {state['text']}")
    return {}


def approve(state: State) -> State:
    if not state.get("ask"):
        return {"answer": "nobody was asked"}
    question = {
        "question": f"Ship {state['text']}?",
        "schema": {
            "type": "object",
            "required": ["approved"],
            "properties": {
                "approved": {"type": "boolean", "title": "Approved"},
                "amount": {"type": "integer", "minimum": 0, "title": "Amount"},
                "note": {"type": "string", "title": "Note", "description": "for the books"},
                "speed": {"enum": ["slow", "fast"], "title": "Speed"},
            },
        },
    }
    return {"answer": interrupt(question)}


def spread(state: State) -> list[Send]:
    return [Send("part", {"number": number}) for number in range(state.get("width", 3))]


def part(given: dict[str, int]) -> State:
    return {"parts": [given["number"]]}


def finish(state: State) -> State:
    return {"text": f"{len(state.get('parts', []))} parts"}


def order() -> Any:
    """START -> read -> check -> approve -> part x n -> finish."""
    made = StateGraph(State)
    for node in (read, approve, part, finish):
        made.add_node(node)
    made.add_node(check, retry_policy=Fixed(interval=0.01, max_retries=1, retry_on=ValueError))
    made.add_edge(START, "read")
    made.add_edge("read", "check")
    made.add_edge("check", "approve")
    made.add_conditional_edges("approve", spread, ["part"])
    made.add_edge("part", "finish")
    made.add_edge("finish", END)
    return made.compile(name="order")


def confirm() -> Any:
    """A yes or no."""
    made = StateGraph(State)
    made.add_node("ask", lambda state: {"answer": interrupt(f"Really {HOSTILE}?")})
    made.add_edge(START, "ask")
    made.add_edge("ask", END)
    return made.compile(name="confirm")


def outer() -> Any:
    """A graph in a graph."""
    inner = StateGraph(State)
    inner.add_node("draft", lambda state: {"text": "draft"})
    inner.add_node("polish", lambda state: {"text": "polished"})
    inner.add_edge(START, "draft")
    inner.add_edge("draft", "polish")
    made = StateGraph(State)
    made.add_node("write", inner.compile())
    made.add_node("publish", lambda state: {"answer": state["text"]})
    made.add_edge(START, "write")
    made.add_edge("write", "publish")
    return made.compile(name="outer")

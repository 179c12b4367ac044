"""A graph whose node is a graph that asks."""

from __future__ import annotations

from typing import TypedDict

from petiole import END, START, CompiledGraph, StateGraph, interrupt


class Letter(TypedDict, total=False):
    text: str
    signed: str


def nesting() -> CompiledGraph:
    """``write`` -> ``sign``, a graph in which ``pen`` asks for a name."""
    inner = StateGraph(Letter)
    inner.add_node("pen", lambda letter: {"signed": interrupt(f"who signs {letter['text']!r}?")})
    inner.add_edge(START, "pen")
    inner.add_edge("pen", END)
    outer = StateGraph(Letter)
    outer.add_node("write", lambda letter: {"text": letter["text"].upper()})
    outer.add_node("sign", inner.compile())
    outer.add_edge(START, "write")
    outer.add_edge("write", "sign")
    outer.add_edge("sign", END)
    return outer.compile(name="nesting")

"""A conversation as a graph, for tests of threads that get a second input."""

from __future__ import annotations

import operator
from datetime import datetime
from typing import Annotated, TypedDict

from petiole import END, START, CompiledGraph, StateGraph


class Chat(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    at: datetime


def chat() -> CompiledGraph:
    """``hear`` -> ``think`` -> ``say``, which write down that they ran; what is said first is the input."""
    builder = StateGraph(Chat)
    names = ("hear", "think", "say")
    for name in names:
        builder.add_node(name, lambda state, name=name: {"log": [f"{name} {state['log'][-1].split()[-1]}"]})
    for before, after in zip((START, *names), (*names, END), strict=True):
        builder.add_edge(before, after)
    return builder.compile(name="chat")


def said(text: str) -> list[str]:
    return [text, f"hear {text}", f"think {text}", f"say {text}"]

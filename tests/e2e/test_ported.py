"""A graph that is LangGraph's to the last line runs on a real worker and is answered from the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.shell import serving

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

PORTED = """
import operator
from typing import Annotated, TypedDict
from langgraph.graph import START, StateGraph
from langgraph.types import Command, Send, interrupt
from petiole.langgraph import from_langgraph

class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    n: int

def ask(state):
    first = interrupt("first?")
    return {"log": [f"{first} {interrupt({'second': first})}"]}

inner = StateGraph(State)
inner.add_node("within", lambda state: {"log": [interrupt("within?")]})
inner.add_edge(START, "within")

builder = StateGraph(State)
builder.add_node("ask", ask)
builder.add_node("inner", inner.compile())
builder.add_node("count", lambda state: Command(update={"n": len(state["log"])}))
builder.add_node("work", lambda arg: {"log": [f"work {arg['i']}"]})
builder.add_edge(START, "ask")
builder.add_edge(START, "inner")
builder.add_edge(["ask", "inner"], "count")
builder.add_conditional_edges("count", lambda state: [Send("work", {"i": i}) for i in range(2)])
graph = from_langgraph(builder, name="ported")
"""


def test_it_runs_on_a_worker_and_is_answered(tmp_path: Path) -> None:
    with serving(tmp_path, "ported", PORTED) as shell:
        shell.run("run", "start", "ported", "--input", '{"log": []}', "--thread", "p")
        for asked in shell.questions("p", count=2):
            shell.run("run", "resume", "p", "--id", asked["id"], "--value", '"yes"')
        [second] = shell.questions("p")
        assert second["value"] == {"second": "yes"}
        shell.run("run", "resume", "p", "--value", '"no"')
        shell.run("run", "watch", "p", "--timeout", "60")
        assert shell.json("run", "state", "p") == {"log": ["yes no", "yes", "work 0", "work 1"], "n": 2}
        tasks = {(task["node"], task["status"]) for task in shell.json("run", "tasks", "p")}
        assert {("within", "done"), ("inner", "done"), ("ask", "done"), ("work", "done")} <= tasks

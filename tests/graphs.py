"""Graphs for tests with real workers: their nodes write down each execution, and can be held in mid-run.

Every run works on a *desk*, a folder of its own (``state["desk"]``). Each execution appends a line to ``desk/journal`` before it
works. A node named in ``state["hold"]`` (``"part:2"``: the branch with number 2) then waits until the file ``desk/gate`` is there.
"""

from __future__ import annotations

import asyncio
import json
import operator
import os
import time
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypedDict

from petiole_workers.graph import END, START, RetryPolicy, Runtime, Send, StateGraph

#: How long a held node waits for its gate before it gives up, in seconds.
PATIENCE = 60.0


class Execution(NamedTuple):
    """One line of a journal."""

    node: str
    task: str
    attempt: int
    pid: int
    at: float  #: seconds since the epoch


def note(desk: str, node: str, runtime: Runtime) -> None:
    """Write down that a node has begun to execute: one write, so that lines of several processes never mix."""
    line = json.dumps(Execution(node, runtime.task_id, runtime.attempt, os.getpid(), time.time())) + "\n"
    handle = os.open(Path(desk) / "journal", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(handle, line.encode())
    finally:
        os.close(handle)


def journal(desk: Path) -> list[Execution]:
    """Every execution so far, in order."""
    file = desk / "journal"
    return [Execution(*json.loads(line)) for line in file.read_text().splitlines()] if file.exists() else []


def held(state: Any, node: str) -> bool:
    """Must this node still wait?"""
    return bool(state.get("hold") == node) and not (Path(state["desk"]) / "gate").exists()


def work(state: Any, node: str, runtime: Runtime) -> None:
    """What every node does first: write down the execution, and wait while it is held."""
    note(state["desk"], node, runtime)
    until = time.monotonic() + PATIENCE
    while held(state, node):
        if time.monotonic() > until:
            raise TimeoutError(f"nobody opened the gate of {state['desk']} for {node}")
        time.sleep(0.01)


def burn(rounds: int) -> int:
    """Some arithmetic that holds the interpreter."""
    value = 1
    for number in range(rounds):
        value = (value * 31 + number) % 1_000_003
    return value


class Tour(TypedDict, total=False):
    """State of the tour."""

    desk: str
    hold: str
    parts: int
    trail: Annotated[list[str], operator.add]
    squares: Annotated[list[int], operator.add]
    total: int
    burnt: int
    rounds: int


class Part(TypedDict):
    """What one branch of the fan-out is given."""

    desk: str
    hold: str
    number: int


class Trouble(Exception):
    """A passing one."""


def first(state: Tour, runtime: Runtime) -> dict[str, Any]:
    work(state, "first", runtime)
    return {"trail": ["first"]}


async def left(state: Tour, runtime: Runtime) -> dict[str, Any]:
    note(state["desk"], "left", runtime)
    async with asyncio.timeout(PATIENCE):
        while held(state, "left"):  # noqa: ASYNC110 - the gate is a file that another process makes
            await asyncio.sleep(0.01)
    return {"trail": ["left"]}


def right(state: Tour, runtime: Runtime) -> dict[str, Any]:
    work(state, "right", runtime)
    return {"trail": ["right"], "burnt": burn(20_000)}


def plan(state: Tour, runtime: Runtime) -> dict[str, Any]:
    work(state, "plan", runtime)
    return {"trail": ["plan"]}


def spread(state: Tour) -> list[Send]:
    return [
        Send("part", {"desk": state["desk"], "hold": state["hold"], "number": n})
        for n in range(state["parts"])
    ]


def part(state: Part, runtime: Runtime) -> dict[str, Any]:
    work(state, f"part:{state['number']}", runtime)
    return {"squares": [state["number"] ** 2]}


def total(state: Tour, runtime: Runtime) -> dict[str, Any]:
    """Fails once in each run, and is tried again."""
    work(state, "total", runtime)
    try:
        (Path(state["desk"]) / "troubled").touch(exist_ok=False)
    except FileExistsError:
        return {"total": sum(state["squares"]), "trail": ["total"]}
    raise Trouble("the first time always fails")


def turn(state: Tour, runtime: Runtime) -> dict[str, Any]:
    rounds = state.get("rounds", 0) + 1
    work(state, f"turn:{rounds}", runtime)
    return {"rounds": rounds, "trail": [f"turn {rounds}"]}


def build() -> Any:
    """Each shape of a graph once: a conditional list, a join, a fan-out by Send, a retry, a loop."""
    graph = StateGraph(Tour)
    graph.add_node("first", first)
    graph.add_node("left", left)
    graph.add_node("right", right)
    graph.add_node("plan", plan)
    graph.add_node("part", part)
    graph.add_node(
        "total", total, retry_policy=RetryPolicy(initial_interval=0.05, jitter=False, retry_on=Trouble)
    )
    graph.add_node("turn", turn)
    graph.add_edge(START, "first")
    graph.add_conditional_edges("first", lambda state: ["left", "right"], ["left", "right"])
    graph.add_edge(["left", "right"], "plan")
    graph.add_conditional_edges("plan", spread, ["part"])
    graph.add_edge("part", "total")
    graph.add_edge("total", "turn")
    graph.add_conditional_edges("turn", lambda state: "turn" if state["rounds"] < 3 else END, ["turn", END])
    return graph.compile(name="tour")


tour = build()


class Other(TypedDict, total=False):
    """State of the graph that only some workers serve."""

    desk: str
    hold: str
    trail: Annotated[list[str], operator.add]


def alone(state: Other, runtime: Runtime) -> dict[str, Any]:
    work(state, "alone", runtime)
    return {"trail": ["alone"]}


other = (
    StateGraph(Other)
    .add_node("alone", alone)
    .add_node("after", lambda state: {"trail": ["after"]})
    .add_edge(START, "alone")
    .add_edge("alone", "after")
    .add_edge("after", END)
    .compile(name="other")
)

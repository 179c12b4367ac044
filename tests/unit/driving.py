"""Runs tasks by hand, without a broker: one holder that takes what is ready until nothing is."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, TypedDict

from petiole import END, START, CompiledGraph, RetryPolicy, StateGraph
from petiole.testing import LocalWorker
from petiole_stores.store import Store
from petiole_workers.settings import Settings

HOLDER = "driver"


class Count(TypedDict, total=False):
    n: int
    trail: Annotated[list[str], lambda old, new: [*old, *new]]


class Switch:
    """What makes a node of the graph below fail."""

    def __init__(self) -> None:
        self.broken = False
        self.calls: list[str] = []


def counting(switch: Switch | None = None, *, name: str = "counting", **options: object) -> CompiledGraph:
    """``add`` -> ``double`` and ``note`` side by side -> ``last``; ``double`` fails while the switch is broken."""
    state = switch or Switch()

    def add(count: Count) -> Count:
        state.calls.append("add")
        return {"n": count["n"] + 1, "trail": ["add"]}

    def double(count: Count) -> Count:
        state.calls.append("double")
        if state.broken:
            raise ValueError("double is broken")
        return {"n": count["n"] * 2, "trail": ["double"]}

    def note(count: Count) -> Count:
        state.calls.append("note")
        return {"trail": ["note"]}

    def last(count: Count) -> Count:
        state.calls.append("last")
        return {"trail": ["last"]}

    graph = StateGraph(Count)
    graph.add_node("add", add)
    graph.add_node("double", double, retry_policy=RetryPolicy(max_attempts=1))
    graph.add_node("note", note)
    graph.add_node("last", last)
    graph.add_edge(START, "add")
    graph.add_edge("add", "double")
    graph.add_edge("add", "note")
    graph.add_edge(["double", "note"], "last")
    graph.add_edge("last", END)
    return graph.compile(name=name, **options)  # type: ignore[arg-type]


def drive(store: Store, *graphs: CompiledGraph, until: Callable[[], bool] = lambda: False) -> None:
    """Run whatever is ready until nothing is, or until ``until`` says stop. The worker stays known as alive."""
    worker = LocalWorker(
        graphs,
        store,
        store.clock or time.time,
        settings=Settings(),
        name="driver@test",
        worker_id=HOLDER,
    )
    while not until() and (worker.step() or worker.sweep()):
        pass

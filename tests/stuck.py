"""A graph whose one node does not end when it should: tests say by the input how it is stuck.

It keeps a journal as :mod:`tests.graphs` does, and is done at once when it is called for the ``free``-th time.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from contextlib import suppress
from itertools import repeat
from pathlib import Path
from typing import Any, TypedDict

from petiole_workers.graph import END, START, RetryPolicy, Runtime, Send, StateGraph
from petiole_workers.limits import NodeTimeoutError
from tests.graphs import journal, note

#: How long a stuck node stays if nothing ends it, in seconds.
STAY = 60
TIMEOUT = 0.5


class Stuck(TypedDict, total=False):
    """State: ``how`` it is stuck, and at which call it is stuck no more."""

    desk: str
    how: str
    free: int
    result: str


def wait(state: Stuck, runtime: Runtime) -> dict[str, Any] | None:
    """How a node that isn't async hangs."""
    note(state["desk"], "node", runtime)
    if len(journal(Path(state["desk"]))) >= state["free"]:
        return {"result": "done"}
    if state["how"] == "slow":  # not stuck, but for longer at work than a limited one may be
        time.sleep(2 * TIMEOUT)
        return {"result": "slow"}
    until = time.monotonic() + STAY
    if state["how"] == "native":  # C code that holds the interpreter's lock and does not come back to Python
        deque(repeat(None, 10**12), maxlen=0)
    while time.monotonic() < until:
        if state["how"] == "polite" and runtime.cancelled:
            (Path(state["desk"]) / "told").touch()
            return {"result": "told"}
        if state["how"] == "gate" and (Path(state["desk"]) / "gate").exists():
            return {"result": "late"}
        with suppress(NodeTimeoutError):  # a broad "except" that swallows whatever it gets
            time.sleep(0.02)
    return {"result": "stayed"}


async def wait_async(state: Stuck, runtime: Runtime) -> dict[str, Any]:
    note(state["desk"], "node", runtime)
    try:
        await asyncio.sleep(STAY)
    except asyncio.CancelledError:
        (Path(state["desk"]) / "told").touch()
        raise
    return {"result": "stayed"}


def graph(name: str, function: Any, timeout: float | None) -> Any:
    policy = RetryPolicy(initial_interval=0.05, jitter=False, retry_on=NodeTimeoutError, max_attempts=2)
    builder = StateGraph(Stuck)
    builder.add_node("node", function, timeout=timeout, retry_policy=policy)
    builder.add_edge(START, "node")
    builder.add_edge("node", END)
    return builder.compile(name=name)


def sends(state: Stuck) -> list[Send]:
    """The node stuck as the input says, but not for long, and beside it one that takes its time."""
    return [Send("node", state, timeout=TIMEOUT), Send("node", {**state, "how": "slow"})]


def sending() -> Any:
    policy = RetryPolicy(initial_interval=0.05, jitter=False, retry_on=NodeTimeoutError, max_attempts=2)
    builder = StateGraph(Stuck).add_node("node", wait, timeout=STAY, retry_policy=policy)
    return builder.add_conditional_edges(START, sends, ["node"]).compile(name="sent")


sent = sending()
limited = graph("limited", wait, TIMEOUT)
endless = graph("endless", wait, None)
awaiting = graph("awaiting", wait_async, None)

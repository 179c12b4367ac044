"""Graphs whose nodes are other graphs' runs, and Celery tasks; what they do is written to a file beside the gate they wait for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, TypedDict

from celery import Celery

from petiole import START, StateGraph, celery_node, child, interrupt
from tests.waiting import wait_until

app = Celery("families", broker="memory://", set_as_current=False)


class State(TypedDict, total=False):
    desk: str
    order: int
    total: int
    receipt: str


def note(state: State, what: str) -> None:
    with (Path(state["desk"]) / "log").open("a") as log:
        log.write(f"{what} {os.getpid()}\n")


def price(state: State) -> State:
    """Waits for the gate."""
    note(state, "price")
    wait_until((Path(state["desk"]) / "gate").exists, 60)
    return {"total": state["order"] * 10}


def approve(state: State) -> State:
    return {"total": interrupt("how much?")}


def one(name: str, node: Any) -> Any:
    return StateGraph(State).add_node("node", node).add_edge(START, "node").compile(name=name)


@app.task(bind=True, max_retries=2, shared=False)  # type: ignore[untyped-decorator]
def charge(self: Any, desk: str, total: int) -> str:
    note({"desk": desk}, f"charge {self.request.retries}")
    if self.request.retries < 2:
        raise self.retry(exc=ConnectionError("no answer"), countdown=2)
    return f"{total} in try {self.request.retries + 1}"


billing, asking = one("billing", price), one("asking", approve)
outer, asker = one("outer", child("shop")), one("asker", child("asking"))
builder = (
    StateGraph(State).add_node("bill", child("billing")).add_edge(START, "bill").add_edge("bill", "charge")
)
shop = builder.add_node("charge", celery_node(charge, result="receipt")).compile(name="shop")

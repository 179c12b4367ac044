"""A graph whose nodes log."""

from __future__ import annotations

import logging
from typing import Any, TypedDict

from petiole import START, CompiledGraph, RetryPolicy, Runtime, StateGraph

bank = logging.getLogger("shop.bank")
bank.setLevel(logging.DEBUG)

#: What somebody might try to get into a page, or a terminal.
NASTY = "<script>alert(1)</script> \x1b[31mred"


class Order(TypedDict, total=False):
    n: int


def charge(order: Order, runtime: Runtime[Any]) -> Order:
    bank.info("charging %d cents", order["n"])
    if runtime.attempt == 1:
        try:
            raise ConnectionError("the bank is away")
        except ConnectionError:
            bank.exception("refused")
            raise
    return {"n": order["n"] + 1}


async def ship(order: Order) -> Order:
    bank.warning(NASTY)
    return {}


def chatty() -> CompiledGraph:
    """``charge``, which fails once, then ``ship``."""
    graph = StateGraph(Order)
    graph.add_node("charge", charge, retry_policy=RetryPolicy(initial_interval=0.0, jitter=False))
    graph.add_node("ship", ship).add_edge(START, "charge").add_edge("charge", "ship")
    return graph.compile(name="chatty")

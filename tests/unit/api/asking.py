"""A graph that asks for an answer, with values that are more than JSON."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypedDict

from petiole import END, START, CompiledGraph, StateGraph, interrupt

MOMENT = datetime(2030, 1, 31, 18, tzinfo=UTC)


@dataclass
class Price:
    cents: int


class Order(TypedDict, total=False):
    n: int
    price: Price
    due: datetime
    seen: set[str]
    answer: Any


def asking(name: str = "asking") -> CompiledGraph:
    """``price`` -> ``ask``."""

    def price(order: Order) -> Order:
        return {"price": Price(order["n"] * 100), "due": MOMENT, "seen": {"a"}}

    def ask(order: Order) -> Order:
        return {"answer": interrupt({"ok": order["price"].cents, "by": order["due"]})}

    graph = StateGraph(Order)
    graph.add_node("price", price)
    graph.add_node("ask", ask)
    graph.add_edge(START, "price")
    graph.add_edge("price", "ask")
    graph.add_edge("ask", END)
    return graph.compile(name=name)

"""A thread that waits for people and for the world, steered from the command line alone: real workers, store and broker
of one folder."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.shell import Shell, serving
from tests.waiting import wait_until

#: ``approve`` is a graph that asks, ``pay`` waits for the bank.
ORDERS = """
import operator
from typing import Annotated, Any, TypedDict
from petiole import END, START, Runtime, StateGraph, interrupt

class Order(TypedDict, total=False):
    amount: int
    log: Annotated[list[str], operator.add]

class Approval(TypedDict, total=False):
    amount: int
    log: list[str]

def ask(order: Approval) -> Approval:
    return {"log": [f"approved by {interrupt({'approve': order['amount']})['by']}"]}

def pay(order: Order, runtime: Runtime[Any]) -> Order:
    return {"log": [f"paid {runtime.wait_signal('paid')}"]}

approval = StateGraph(Approval)
approval.add_node("ask", ask)
approval.add_edge(START, "ask")

builder = StateGraph(Order)
builder.add_node("price", lambda order: {"log": [f"priced {order['amount']}"]})
builder.add_node("approve", approval.compile(name="approval"))
builder.add_node("pay", pay)
for before, after in ((START, "price"), ("price", "approve"), ("approve", "pay"), ("pay", END)):
    builder.add_edge(before, after)
graph = builder.compile(name="orders")
"""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


def waits_for_signal(shell: Shell) -> bool:
    return any(wait["kind"] == "signal" for wait in shell.json("run", "explain", "o")["waits"])


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    with serving(tmp_path, "orders", ORDERS) as opened:
        yield opened


def test_an_order_that_people_and_the_bank_take_part_in(shell: Shell) -> None:
    # given an order that waits for its approval
    shell.run("run", "start", "orders", "--input", '{"amount": 7}', "--thread", "o")
    asked = shell.questions("o")[0]
    assert asked["value"] == {"approve": 7}

    # when the command that is shown is typed, and the bank sends its signal twice
    program, *command = shlex.split(asked["command"].replace("JSON", '\'{"by": "Ann"}\''))
    assert program == "petiole"
    shell.run(*command)
    wait_until(lambda: waits_for_signal(shell), 60, "the order to wait for the bank")
    for _ in range(2):
        shell.run("run", "signal", "o", "paid", "--payload", "7", "--id", "bank-91")

    # then it is through
    shell.run("run", "watch", "o", "--timeout", "60")
    first = shell.json("run", "state", "o")
    assert first == {"amount": 7, "log": ["priced 7", "approved by Ann", "paid 7"]}

    # when it goes on from before its approval with another amount
    points = shell.json("run", "history", "o")
    at = next(it["checkpoint_id"] for it in points if it["next"] == ["approve"])
    shell.run("run", "fork", "o", "--checkpoint", at, "--values", '{"amount": 5}', "--as-node", "price",
              "--graphs", "orders:graph")  # fmt: skip
    assert shell.questions("o")[0]["value"] == {"approve": 5}

    # and a new input takes its place
    taken = shell.json(
        "run", "start", "orders", "--input", '{"amount": 3}', "--thread", "o", "--if-busy", "rollback"
    )
    asked = shell.questions("o")[0]
    assert (asked["run_id"], asked["value"]) == (taken["run_id"], {"approve": 3})
    shell.run("run", "resume", "o", "--value", '{"by": "Bob"}')
    wait_until(lambda: waits_for_signal(shell), 60, "the new order to wait for the bank")
    shell.run("run", "signal", "o", "paid", "--payload", "3")
    shell.run("run", "watch", "o", "--timeout", "60")

    # then it has begun where the fork did
    assert shell.json("run", "state", "o")["log"] == ["priced 7", "priced 3", "approved by Bob", "paid 3"]
    changed = shell.json("run", "diff", points[0]["checkpoint_id"], "o")["differences"]
    assert [(one["path"], one["kind"]) for one in changed] == [
        ("amount", "changed"),
        ("log[1]", "changed"),
        ("log[2]", "changed"),
        ("log[3]", "added"),
    ]

"""A thread that waits for people and for the world, steered from the command line alone: real workers, store and broker
of one folder."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.processes import Leashed
from tests.waiting import wait_until

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("PETIOLE_")} | {
    "PYTHONPATH": os.pathsep.join(str(ROOT / floor) for floor in ("app", "workers", "stores"))
}
PETIOLE = [sys.executable, "-m", "petiole"]

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


class Shell:
    """A folder in which commands are typed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *arguments: str, code: int = 0) -> str:
        """What a command of ``petiole`` prints; it has to end with this code."""
        answer = subprocess.run(
            [*PETIOLE, *arguments],
            cwd=self.folder,
            env=ENVIRONMENT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert answer.returncode == code, f"{arguments}: {answer.returncode}\n{answer.stdout}{answer.stderr}"
        return answer.stdout

    def json(self, *arguments: str) -> Any:
        return json.loads(self.run(*arguments, "-o", "json"))

    def question(self) -> Any:
        """What thread ``o`` asks; it is waited for."""
        [found] = wait_until(lambda: self.json("run", "interrupts", "o"), 60, "a question")
        return found

    def waits_for_signal(self) -> bool:
        return any(wait["kind"] == "signal" for wait in self.json("run", "explain", "o")["waits"])


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    """A folder with the module of the graph and a worker that serves it."""
    (tmp_path / "orders.py").write_text(ORDERS)
    worker = Leashed(
        [*PETIOLE, "worker", "--graphs", "orders:graph"],
        log=tmp_path / "worker.log",
        env=ENVIRONMENT,
        cwd=tmp_path,
    )
    yield Shell(tmp_path)
    assert worker.stop() == 0, worker.tail()


def test_an_order_that_people_and_the_bank_take_part_in(shell: Shell) -> None:
    # given an order that waits for its approval
    shell.run("run", "start", "orders", "--input", '{"amount": 7}', "--thread", "o")
    asked = shell.question()
    assert asked["value"] == {"approve": 7}

    # when the command that is shown is typed, and the bank sends its signal twice
    program, *command = shlex.split(asked["command"].replace("JSON", '\'{"by": "Ann"}\''))
    assert program == "petiole"
    shell.run(*command)
    wait_until(shell.waits_for_signal, 60, "the order to wait for the bank")
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
    assert shell.question()["value"] == {"approve": 5}

    # and a new input takes its place
    taken = shell.json(
        "run", "start", "orders", "--input", '{"amount": 3}', "--thread", "o", "--if-busy", "rollback"
    )
    asked = shell.question()
    assert (asked["run_id"], asked["value"]) == (taken["run_id"], {"approve": 3})
    shell.run("run", "resume", "o", "--value", '{"by": "Bob"}')
    wait_until(shell.waits_for_signal, 60, "the new order to wait for the bank")
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

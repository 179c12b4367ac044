"""Time travel on the command line: states changed by hand, forks, and what is different."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from petiole import CompiledGraph
from petiole_stores.memory import MemoryStore
from petiole_workers.registry import load_graph
from tests.unit.cli.conftest import Cli
from tests.unit.driving import drive

TRIP = """
import operator
from typing import Annotated, TypedDict
from petiole import END, START, Runtime, StateGraph

class Trip(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    to: str

def pay(state: Trip, runtime: Runtime) -> Trip:
    return {"log": [f"paid {runtime.wait_signal('paid')}"] if state["to"] == "Paris" else []}

builder = StateGraph(Trip)
builder.add_node("plan", lambda state: {"log": ["plan"]})
builder.add_node("book", lambda state: {"log": [f"book {state['to']}"]})
builder.add_node("pay", pay)
for before, after in ((START, "plan"), ("plan", "book"), ("book", "pay"), ("pay", END)):
    builder.add_edge(before, after)
graph = builder.compile(name="trip", interrupt_before=["book"])
"""


@pytest.fixture
def graph(tmp_path: Path, store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[CompiledGraph]:
    """The graph of a module ``trip`` in the current folder."""
    (tmp_path / "trip.py").write_text(TRIP)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield load_graph("trip:graph")
    sys.modules.pop("trip")


def go(cli: Cli, store: MemoryStore, graph: CompiledGraph, to: str = "Oslo") -> None:
    assert cli("run", "start", "trip", "--input", f'{{"to": "{to}"}}', "--thread", "t").code == 0
    drive(store, graph)
    assert cli("run", "resume", "t").code == 0
    drive(store, graph)


def point(cli: Cli, *next: str) -> Any:
    """The oldest checkpoint that these nodes come after."""
    found = cli("run", "history", "t", "-o", "json").json
    return [entry["checkpoint_id"] for entry in found if entry["next"] == [*next]][-1]


def test_an_update_and_what_follows_from_it(cli: Cli, store: MemoryStore, graph: CompiledGraph) -> None:
    go(cli, store, graph)
    said = cli("run", "update", "t", "--values", '{"to": "Rome"}', "--as-node", "plan")
    assert said.code == 2
    assert "graph 'trip' is needed here" in said.err
    command = [
        "run",
        "update",
        "t",
        "--values",
        '{"to": "Rome"}',
        "--as-node",
        "plan",
        "--graphs",
        "trip:graph",
    ]
    made = cli(*command, "-o", "json").json
    assert (made["thread_id"], made["next"]) == ("t", ["book"])
    assert "petiole run resume t" in cli(*command).err
    assert cli("run", "resume", "t", "-o", "json").json["status"] == "queued"
    drive(store, graph)
    assert cli("run", "state", "t").json["log"][-1] == "book Rome"


def test_a_fork_and_what_is_different(cli: Cli, store: MemoryStore, graph: CompiledGraph) -> None:
    go(cli, store, graph)
    old = cli("run", "history", "t", "-o", "json").json[0]["checkpoint_id"]
    at = point(cli, "book")
    options = [
        "--checkpoint",
        at,
        "--values",
        '{"to": "Rome"}',
        "--as-node",
        "plan",
        "--graphs",
        "trip:graph",
    ]
    forked = cli("run", "fork", "t", *options, "-o", "json")
    assert (forked.code, forked.json["metadata"]["fork_of"]) == (
        0,
        cli("run", "list", "-o", "json").json[1]["run_id"],
    )
    drive(store, graph)
    found = cli("run", "diff", old, "t", "-o", "json").json
    assert list(found) == ["before", "after", "differences"]
    assert found["differences"] == [
        {"path": "log[1]", "kind": "changed", "before": "book Oslo", "after": "book Rome"},
        {"path": "to", "kind": "changed", "before": "Oslo", "after": "Rome"},
    ]
    text = cli("run", "diff", old, "t").out
    assert text.splitlines()[2:] == [
        '- log[1]: "book Oslo"',
        '+ log[1]: "book Rome"',
        '- to: "Oslo"',
        '+ to: "Rome"',
    ]
    assert "are the same" in cli("run", "diff", "t", "t").err
    assert cli("run", "diff", "t", "nothing").code == 3
    assert cli("run", "fork", "t", "--checkpoint", "nothing").code == 3
    assert cli("run", "fork", "t", "--checkpoint", old).code == 4


def test_nodes_to_resume_from(cli: Cli, store: MemoryStore, graph: CompiledGraph) -> None:
    go(cli, store, graph)
    assert cli("run", "resume", "t", "--from", "plan", "--graphs", "trip:graph").code == 0
    drive(store, graph)
    assert cli("run", "state", "t").json["log"] == ["plan", "book Oslo", "plan"]
    at = point(cli, "book")
    assert cli("run", "resume", "t", "--checkpoint", at, "--graphs", "trip:graph").code == 0
    drive(store, graph)
    assert cli("run", "state", "t").json["log"] == ["plan", "book Oslo"]


def test_a_signal(cli: Cli, store: MemoryStore, graph: CompiledGraph) -> None:
    go(cli, store, graph, "Paris")
    assert "waits for the signal 'paid'" in cli("run", "tasks", "t").out
    assert "petiole run signal t paid" in cli("run", "explain", "t").out
    sent = cli("run", "signal", "t", "paid", "--payload", "7", "--id", "bank-91", "-o", "json")
    assert sent.json == {"thread_id": "t", "name": "paid", "id": "bank-91"}
    drive(store, graph)
    assert cli("run", "state", "t").json["log"][-1] == "paid 7"
    assert cli("run", "signal", "t", "paid", "--payload", "8", "--id", "bank-91").code == 4
    assert cli("run", "signal", "t", "paid", "--payload", "8", "--id", "").code == 2


def test_inputs_that_take_the_place_of_others(cli: Cli, store: MemoryStore, graph: CompiledGraph) -> None:
    go(cli, store, graph)
    for to, mode in (("Rome", "reject"), ("Bonn", "interrupt"), ("Linz", "rollback")):
        said = cli("run", "start", "trip", "--input", f'{{"to": "{to}"}}', "--thread", "t", "--if-busy", mode)
        assert said.code == 0
        drive(store, graph)
    assert cli("run", "state", "t").json == {"log": ["plan", "book Oslo", "plan", "plan"], "to": "Linz"}
    assert "took its place (if_busy=interrupt)" in cli("run", "list").out

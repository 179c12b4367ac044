"""Questions on the command line: shown wherever a run is, with the command that answers them."""

from __future__ import annotations

import shlex
from typing import Any, TypedDict

import pytest

from petiole import END, START, CompiledGraph, StateGraph, interrupt
from petiole_stores.memory import MemoryStore
from tests.unit.cli.conftest import Cli
from tests.unit.driving import drive


class Order(TypedDict, total=False):
    amount: int
    verdict: Any


def approval() -> CompiledGraph:
    """``approve`` is a graph whose node ``ask`` asks about the amount."""
    inner, outer = StateGraph(Order), StateGraph(Order)
    inner.add_node("ask", lambda order: {"verdict": interrupt({"approve": order["amount"]})})
    inner.add_edge(START, "ask")
    below: Any = inner.compile(name="inner")
    outer.add_node("approve", below)
    outer.add_edge(START, "approve")
    outer.add_edge("approve", END)
    return outer.compile(name="approval")


@pytest.fixture
def asked(cli: Cli, store: MemoryStore) -> dict[str, Any]:
    """The question that thread ``t`` waits with."""
    assert cli("run", "start", "approval", "--input", '{"amount": 7}', "--thread", "t").code == 0
    drive(store, approval())
    [question] = cli("run", "interrupts", "t", "-o", "json").json
    assert isinstance(question, dict)
    return question


def test_the_command_that_is_shown_answers_the_question(
    cli: Cli, store: MemoryStore, asked: dict[str, Any]
) -> None:
    assert (asked["node"], asked["value"], asked["trouble"]) == ("ask", {"approve": 7}, None)
    program, *command = shlex.split(asked["command"].replace("JSON", "'{\"ok\": true}'"))
    assert (program, cli(*command).code) == ("petiole", 0)
    assert cli(*command).code == 0  # the first answer counts
    drive(store, approval())
    assert cli("run", "state", "t").json["verdict"] == {"ok": True}
    assert cli("run", "interrupts", "t", "-o", "json").json == []
    assert "nothing waits for an answer" in cli("run", "interrupts", "t").err


@pytest.mark.parametrize("verb", ["get", "explain", "history", "tasks", "watch", "interrupts", "state"])
def test_every_verb_that_looks_shows_the_question_and_its_answer(
    cli: Cli, asked: dict[str, Any], verb: str
) -> None:
    said = cli("run", verb, "t", *(["--subgraphs"] if verb == "history" else []))
    text = said.out + said.err
    assert '{"approve":7}' in text
    assert asked["id"] in text
    assert asked["command"] in text


def test_an_answer_from_a_file_and_its_result(
    cli: Cli, store: MemoryStore, asked: dict[str, Any], tmp_path: Any
) -> None:
    (tmp_path / "answer.json").write_text('["yes", 1]')
    assert cli("run", "resume", "t", "--value", "@answer.json").code == 0
    drive(store, approval())
    assert cli("run", "state", "t").json["verdict"] == ["yes", 1]


def test_what_is_no_answer(cli: Cli, asked: dict[str, Any]) -> None:
    assert cli("run", "resume", "t", "--value", "yes").code == 2  # no JSON
    unknown = cli("run", "resume", "t", "--id", "0" * 32, "--value", "1")
    assert unknown.code == 2
    assert "no interrupt of the id" in unknown.err
    assert cli("run", "resume", "t", "--id", asked["id"]).code == 2
    assert cli("run", "interrupts", "nobody").code == 3


def test_a_node_that_is_a_graph_is_counted_by_its_tasks(cli: Cli, asked: dict[str, Any]) -> None:
    assert cli("run", "get", "t", "-o", "json").json["tasks"] == {"done": 1, "interrupted": 1}
    nodes = {task["node"]: task for task in cli("run", "tasks", "t", "-o", "json").json}
    assert nodes["ask"]["interrupt"]["id"] == asked["id"]
    assert nodes["approve"]["interrupt"] is None
    assert nodes["approve"]["child"] == nodes["ask"]["ns"]

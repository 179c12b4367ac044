"""Failed tries in history: those after which a task waited, those made again at once, the last one, handled ones."""

from __future__ import annotations

import time
from typing import Any

import pytest

from petiole import END, START, CompiledGraph, Exponential, Fixed, Send, StateGraph
from petiole_stores.memory import MemoryStore
from petiole_workers.failure import MAX_EARLIER
from tests.unit.cli.conftest import Cli
from tests.unit.driving import Count, drive

QUICK = Exponential(base_delay=0.001, jitter=False, max_attempts=9)
LATER = Fixed(60.0, max_retries=3, retry_on=TimeoutError)


class Node:
    """Raises these errors, one a try, and then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = [*errors]

    def __call__(self, state: Count) -> Count:
        if self.errors:
            raise self.errors.pop(0)
        return {"n": 1}


def graph_of(node: Node, **options: Any) -> CompiledGraph:
    graph = StateGraph(Count).add_node("charge", node, retry_policy=[QUICK, LATER], **options)
    return graph.add_edge(START, "charge").add_edge("charge", END).compile(name="counting")


def run(cli: Cli, store: MemoryStore, graph: CompiledGraph) -> None:
    """Submit, and run what is ready."""
    assert cli("run", "start", "counting", "--input", "{}", "--thread", "t").code == 0
    drive(store, graph)


def later(store: MemoryStore, graph: CompiledGraph, monkeypatch: pytest.MonkeyPatch) -> None:
    """61 s later."""
    now = time.time() + 61
    monkeypatch.setattr(store, "clock", lambda: now)
    drive(store)
    store.sweep(observed=0.0)
    drive(store, graph)


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def charge(cli: Cli) -> Any:
    return next(task for task in cli("run", "tasks", "t", "-o", "json").json if task["node"] == "charge")


def test_a_task_that_succeeded_in_the_end_shows_every_try_before(
    cli: Cli, store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Node(ConnectionError("one"), TimeoutError("two"), ConnectionError("three"))
    graph = graph_of(node)
    run(cli, store, graph)
    assert "charge parked (attempt 2): TimeoutError: two" in cli("run", "history", "t").out
    later(store, graph, monkeypatch)

    [_, *table] = rows(cli("run", "tasks", "t").out)
    at = next(i for i, row in enumerate(table) if row[0] == "charge")
    assert table[at][:4] == ["charge", "done", "4", "driver@test"]
    assert [[*row[:2], *row[-2:]] for row in table[at + 1 : at + 4]] == [
        ["failed", "1", "ConnectionError:", "one"],
        ["retry", "2", "TimeoutError:", "two"],
        ["failed", "3", "ConnectionError:", "three"],
    ]

    task = charge(cli)
    [waited] = task["attempts"]
    kept = [*waited["error"]["earlier"], waited["error"], task["error"]]
    assert [(it["type"], it["message"], it["attempt"], it["tries"]) for it in kept] == [
        ("ConnectionError", "one", 1, 1), ("TimeoutError", "two", 2, 2), ("ConnectionError", "three", 3, 3),
    ]  # fmt: skip
    assert all("raise self.errors.pop(0)" in it["traceback"] for it in kept)

    story = cli("run", "history", "t").out
    for line in (
        "charge done (attempt 4)",
        "attempt 1 failed: ConnectionError: one",
        "attempt 2 retry: TimeoutError: two",
    ):
        assert line in story
    traced = cli("run", "history", "t", "--tracebacks").out
    assert traced.count("Traceback (most recent call last)") == 3
    assert "attempt 2, retry:" in traced
    assert cli("run", "tasks", "t", "--tracebacks").out.count("Traceback (most recent call last)") == 3
    assert cli("run", "get", "t", "-o", "json").json["error"] is None


def test_a_task_that_failed_for_good_shows_its_last_try_and_the_others(cli: Cli, store: MemoryStore) -> None:
    run(cli, store, graph_of(Node(ConnectionError("one"), ConnectionError("two"), ValueError("wrong"))))

    assert "ValueError in charge (attempt 3): wrong" in cli("run", "get", "t").out
    assert "charge failed (attempt 3): ValueError: wrong" in cli("run", "history", "t").out
    error = charge(cli)["error"]
    assert (error["attempt"], [it["message"] for it in error["earlier"]]) == (3, ["one", "two"])
    assert cli("run", "history", "t", "-o", "json").json[0]["tasks"][0]["error"] == error
    assert cli("run", "get", "t", "-o", "json").json["error"] == error
    assert cli("run", "tasks", "t", "--tracebacks").out.count("Traceback (most recent call last)") == 3


def test_a_failure_that_was_handled_is_shown_as_such(cli: Cli, store: MemoryStore) -> None:
    node = Node(ConnectionError("one"), ValueError("wrong"))
    run(cli, store, graph_of(node, error_handler=lambda state: {"n": 2}))

    assert cli("run", "state", "t").json["n"] == 2
    assert "charge done (attempt 2): handled: ValueError: wrong" in cli("run", "history", "t").out
    error = charge(cli)["error"]
    assert (error["handled"], error["attempt"], len(error["earlier"])) == (True, 2, 1)


def test_of_many_tries_the_newest_are_kept(cli: Cli, store: MemoryStore) -> None:
    count = MAX_EARLIER + 5
    node = Node(*(ConnectionError(str(number)) for number in range(1, count + 1)))
    graph = StateGraph(Count).add_node("charge", node, retry_policy=Fixed(0.0, max_retries=count))
    run(cli, store, graph.add_edge(START, "charge").compile(name="counting"))

    error = charge(cli)["error"]
    assert (error["message"], error["tries"]) == (str(count), count)
    assert [it["attempt"] for it in error["earlier"]] == [*range(count - MAX_EARLIER, count)]


def test_tasks_without_trouble_stand_beside_each_other(cli: Cli, store: MemoryStore) -> None:
    graph = StateGraph(Count).add_node("a", Node()).add_node("b", lambda state: {}).add_edge(START, "a")
    run(cli, store, graph.add_edge(START, "b").compile(name="counting"))
    assert "a done, b done" in cli("run", "history", "t").out
    assert "Traceback" not in cli("run", "history", "t", "--tracebacks").out


def test_tasks_of_a_fan_out_that_went_alike_are_told_once_with_their_number(
    cli: Cli, store: MemoryStore
) -> None:
    def branch(n: int) -> Count:
        if n % 10 == 0:
            raise ValueError("ten again")
        return {"n": 1}

    graph = StateGraph(Count).add_node("branch", branch)
    graph.add_conditional_edges(START, lambda state: [Send("branch", n) for n in range(1, 101)], ["branch"])
    run(cli, store, graph.compile(name="counting"))

    text = cli("run", "history", "t").out
    assert "branch done ×90" in text
    assert "branch failed: ValueError: ten again ×10" in text
    assert text.count("branch") == 2


def test_the_checkpoint_after_a_fan_out_names_its_node_once(cli: Cli, store: MemoryStore) -> None:
    graph = StateGraph(Count).add_node("branch", lambda n: {})
    graph.add_conditional_edges(START, lambda state: [Send("branch", n) for n in range(100)], ["branch"])
    run(cli, store, graph.compile(name="counting"))

    text = cli("run", "history", "t").out
    assert [row[2:4] for row in rows(text) if row[1] == "1"] == [["branch", "×100"]]
    assert "branch done ×100, join done" in text

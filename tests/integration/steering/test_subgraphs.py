"""Nodes that are graphs: what fails or waits is the task inside, and the node is told to wait for it."""

from __future__ import annotations

from typing import Any, TypedDict

import pytest

from petiole import END, START, CompiledGraph, StateGraph
from petiole.testing import LocalWorker
from tests.integration.steering.conftest import Serve


class State(TypedDict, total=False):
    n: int


class Mood:
    """Whether the innermost node fails."""

    def __init__(self) -> None:
        self.bad = True
        self.calls: list[str] = []


def layered(mood: Mood) -> CompiledGraph:
    """``top`` is a graph, whose node ``mid`` is one, whose node ``leaf`` fails while the mood is bad, beside ``sibling``."""
    inner, middle, outer = StateGraph(State), StateGraph(State), StateGraph(State)

    def leaf(state: State) -> State:
        mood.calls.append("leaf")
        if mood.bad:
            raise ValueError("leaf is broken")
        return {"n": state["n"] + 1}

    def sibling(state: State) -> None:
        mood.calls.append("sibling")

    for name, node in (("leaf", leaf), ("sibling", sibling)):
        inner.add_node(name, node)
        inner.add_edge(START, name)
        inner.add_edge(name, END)
    below: Any = inner.compile(name="inner")
    middle.add_node("mid", below)
    middle.add_edge(START, "mid")
    below = middle.compile(name="middle")
    outer.add_node("top", below)
    outer.add_edge(START, "top")
    return outer.compile(name="layered")


@pytest.fixture
def mood() -> Mood:
    return Mood()


@pytest.fixture
def failed(serve: Serve, mood: Mood) -> LocalWorker:
    """A worker whose thread ``t`` has failed of its leaf."""
    worker = serve(layered(mood))
    worker.client.submit("layered", {"n": 1}, thread_id="t")
    worker.run_until_idle()
    assert worker.client.get_run("t").status == "failed"
    return worker


def test_dead_letters_are_leaves(failed: LocalWorker) -> None:
    [letter] = failed.client.dead_letters()
    assert (letter.task.node, letter.failure.type) == ("leaf", "ValueError")
    assert failed.client.drop_dead_letters([letter.task.task_id]) == 1
    assert [*failed.client.dead_letters()] == []


def test_a_failure_inside_is_explained_once(failed: LocalWorker) -> None:
    [wait] = failed.client.explain("t").waits
    assert (wait.kind, wait.subject) == ("dead_letter", "leaf")
    assert wait.detail == "top/mid/leaf failed after attempt 1: ValueError: leaf is broken"


def test_a_replay_runs_the_leaf_alone(failed: LocalWorker, mood: Mood) -> None:
    mood.bad = False
    run = failed.client.replay("t")
    step = failed.client.explain("t")
    assert [wait.kind for wait in step.waits if wait.kind == "subgraph"] == ["subgraph"] * 2
    failed.run_until_idle()
    assert run.result(0) == {"n": 2}
    assert mood.calls.count("sibling") == 1


def test_what_is_open_inside_is_told_down_to_the_leaf(serve: Serve, mood: Mood) -> None:
    worker = serve(layered(mood))
    worker.client.submit("layered", {"n": 1}, thread_id="t")
    while not any(task.node == "leaf" for task in worker.client.tasks("t")):
        worker.step()
    found = worker.client.explain("t")
    details = [wait.detail for wait in found.waits if wait.kind == "subgraph"]
    assert details == [
        f"{owner} waits for its subgraph, in which 2 tasks are open, the first is top/mid/leaf, ready; it holds no worker "
        "meanwhile"
        for owner in ("top", "top/mid")
    ]
    assert [wait.subject for wait in found.waits if wait.kind == "message"] == ["leaf", "sibling"]
    assert found.superstep is not None
    assert (found.superstep.total, found.superstep.open) == (1, 1)


def test_a_subgraph_in_a_paused_run_is_not_said_to_be_over(serve: Serve, mood: Mood) -> None:
    worker = serve(layered(mood))
    worker.client.submit("layered", {"n": 1}, thread_id="t")
    while not any(task.node == "leaf" for task in worker.client.tasks("t")):
        worker.step()
    worker.client.pause("t")
    assert all(
        "in which 2 tasks are open" in wait.detail
        for wait in worker.client.explain("t").waits
        if wait.kind == "subgraph"
    )


def test_the_history_goes_into_subgraphs_where_asked(failed: LocalWorker) -> None:
    roots = failed.client.history("t")
    assert {entry.checkpoint.ns for entry in roots if entry.checkpoint} == {""}
    spaces = {e.checkpoint.ns.count("|") for e in failed.client.history("t", subgraphs=True) if e.checkpoint}
    assert spaces == {0, 1}
    nodes = [task.node for entry in failed.client.history("t", subgraphs=True) for task in entry.tasks]
    assert "leaf" in nodes

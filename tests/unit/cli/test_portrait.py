"""``petiole run watch`` on a terminal: a run drawn on its graph."""

from __future__ import annotations

import io
from typing import TypedDict

from rich.console import Console

from petiole import START, StateGraph
from petiole.cli.portrait import LINES, lines_of, order_of, portrait
from petiole_stores.records import Task, TaskStatus


class State(TypedDict, total=False):
    n: int


def node(state: State) -> State:
    return state


def graph() -> StateGraph:
    inner = StateGraph(State).add_node("draft", node).add_node("check", node)
    inner.add_edge(START, "draft").add_edge("draft", "check")
    outer = StateGraph(State).add_node("plan", node).add_node("write", inner.compile()).add_node("send", node)
    outer.add_edge(START, "plan").add_edge("plan", "write").add_edge("write", "send")
    return outer


def task(name: str, status: TaskStatus, *, step: str = "c1", ns: str = "", **more: object) -> Task:
    made = Task(
        task_id=f"{ns}{name}{step}", run_id="r", thread_id="t", ns=ns, checkpoint_id=step, path="p", kind="node",
        node=name, queue="q", priority="default", status=status, created_at=1.0,
    )  # fmt: skip
    for key, value in more.items():
        setattr(made, key, value)
    return made


def drawn(*tasks: Task, known: bool = True) -> list[str]:
    order = order_of(graph().compile(name="g").get_graph(xray=True)) if known else ()
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(portrait(lines_of(tasks, order), lambda place: "on w1" if place[-1] == "draft" else ""))
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_nodes_stand_in_the_graph_s_order_with_what_is_still_to_come() -> None:
    lines = drawn(
        task("plan", "done"),
        task("write", "parked", step="c2"),
        task("draft", "claimed", step="c3", ns="write:1"),
    )
    assert [line.split()[:2] for line in lines] == [
        ["✓", "plan"],
        ["◷", "write"],
        ["▶", "draft"],
        ["·", "check"],
        ["·", "send"],
    ]
    assert "on w1" in lines[2]
    assert lines[2].index("draft") > lines[1].index("write"), "what is within a subgraph is set in"


def test_without_the_graph_nodes_stand_as_they_came_and_subgraphs_under_their_node() -> None:
    lines = drawn(
        task("plan", "done"),
        task("write", "parked", step="c2"),
        task("other", "ready", step="c2"),
        task("draft", "failed", step="c3", ns="write:1"),
        known=False,
    )
    assert [line.split()[1] for line in lines] == ["plan", "write", "draft", "other"]


def test_a_fan_out_has_a_bar_and_its_numbers() -> None:
    some: list[TaskStatus] = ["done"] * 5 + ["failed"] + ["claimed"] * 2 + ["ready"] * 2
    tasks = []
    for number, status in enumerate(some):
        tasks.append(task("count", status, task_id=str(number)))
    [line] = drawn(*tasks, known=False)
    assert line.startswith("✗ count")
    assert line.count("━") == 20
    assert line.endswith("5/10, 1 failed, 2 claimed, 2 ready")


def test_only_the_newest_round_of_a_loop_counts_and_what_a_replay_replaced_does_not() -> None:
    [line] = drawn(
        task("plan", "done", step="c1"),
        task("plan", "failed", step="c2", replaced=True),
        task("plan", "ready", step="c3"),
        known=False,
    )
    assert line.split() == ["◌", "plan", "ready,", "round", "2"]


def test_a_large_graph_is_cut_to_what_has_happened() -> None:
    lines = drawn(*(task(f"n{number}", "done", step=str(number)) for number in range(LINES + 5)), known=False)
    assert len(lines) == LINES + 1
    assert lines[-1].split() == ["and", "5", "more", "nodes"]

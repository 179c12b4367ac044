"""Listeners in process: what they are told, in which order, and that none of them can do harm."""

from __future__ import annotations

import logging
import operator
from typing import Annotated, Any, TypedDict

import pytest

from petiole_workers.compiled import CompiledGraph
from petiole_workers.graph import START, RetryPolicy, StateGraph
from petiole_workers.listeners import LoggingListener, MetricsListener, NodeMetrics, ProgressListener
from petiole_workers.listening import CheckpointEvent, Listener, NodeEndEvent, NodeErrorEvent, NodeEvent


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]


class Diary(Listener):
    """Writes every event down, in short."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.events: list[Any] = []

    def note(self, line: str, event: Any) -> None:
        self.lines.append(line)
        self.events.append(event)

    def on_node_start(self, event: NodeEvent) -> None:
        self.note(f"start {event.node} {event.attempt}", event)

    def on_node_end(self, event: NodeEndEvent) -> None:
        self.note(f"end {event.node} {event.attempt} {dict(event.writes)} {event.handled}", event)

    def on_node_error(self, event: NodeErrorEvent) -> None:
        self.note(f"error {event.node} {event.attempt} {event.error} {event.will_retry}", event)

    def on_checkpoint(self, event: CheckpointEvent) -> None:
        self.note(f"checkpoint {event.step} {event.source} {list(event.next)} {event.run_status}", event)


def flow(*listeners: Any, handled: bool = False, checkpointer: Any = None) -> CompiledGraph:
    """``a``, which fails once, then ``b``, which fails for good."""
    tries: list[int] = []

    def a(state: State) -> Any:
        tries.append(1)
        if len(tries) == 1:
            raise ConnectionError("once")
        return {"log": ["a"]}

    def b(state: State) -> Any:
        raise ValueError("always")

    policy = RetryPolicy(initial_interval=0.001, jitter=False)
    graph = StateGraph(State).add_node(a, retry_policy=policy)
    graph.add_node(b, error_handler=(lambda state: {"log": ["handled"]}) if handled else None)
    graph.add_edge(START, "a").add_edge("a", "b")
    return graph.compile(checkpointer, name="flow", listeners=listeners)


def test_every_try_end_error_and_checkpoint_is_told_in_order() -> None:
    diary = Diary()
    with pytest.raises(ValueError, match="always"):
        flow(diary).invoke({})
    assert diary.lines == [
        "checkpoint -1 input ['__start__'] running",
        "checkpoint 0 loop ['a'] running",
        "start a 1",
        "error a 1 once True",
        "start a 2",
        "end a 2 {'log': ['a']} False",
        "checkpoint 1 loop ['b'] running",
        "start b 1",
        "error b 1 always False",
    ]
    assert {event.graph for event in diary.events} == {"flow"}
    assert len({event.run_id for event in diary.events}) == 1
    assert [event.step for event in diary.events if isinstance(event, NodeEvent)] == [1, 1, 1, 1, 2, 2]


def test_what_an_error_handler_gives_is_the_nodes_end() -> None:
    diary = Diary()
    flow(diary, handled=True).invoke({})
    assert diary.lines[-3:] == [
        "error b 1 always False",
        "end b 1 {'log': ['handled']} True",
        "checkpoint 2 loop [] succeeded",
    ]


def test_a_listener_that_raises_stops_neither_the_run_nor_the_next_one(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken:
        def on_node_end(self, event: NodeEndEvent) -> None:
            raise RuntimeError("I am broken")

    diary = Diary()
    assert flow(Broken(), diary, handled=True).invoke({}) == {"log": ["a", "handled"]}
    assert sum(line.startswith("end") for line in diary.lines) == 2
    assert "I am broken" in caplog.text


def test_progress_is_a_line_a_superstep() -> None:
    lines: list[str] = []
    config = {"configurable": {"thread_id": "t"}}
    flow(ProgressListener(lines.append), handled=True, checkpointer="memory://").invoke({}, config)
    assert lines == [
        "flow t step -1: input -> __start__",
        "flow t step 0: loop -> a",
        "flow t step 1: a -> b",
        "flow t step 2: b -> succeeded",
    ]


def test_metrics_count_tries_and_ends_by_node() -> None:
    metrics = MetricsListener()
    flow(metrics, handled=True).invoke({})
    counts = metrics.snapshot()
    assert (counts["flow", "a"].started, counts["flow", "a"].retried, counts["flow", "a"].ended) == (2, 1, 1)
    assert (counts["flow", "b"].failed, counts["flow", "b"].ended) == (1, 1)
    assert counts["flow", "a"].seconds > 0
    assert metrics.checkpoints == {"flow": 4}
    counts["flow", "a"].started = 99
    assert metrics.snapshot()["flow", "a"] != NodeMetrics(started=99)


@pytest.mark.parametrize("debug", [True, False])
def test_logging_and_debug_write_records(debug: bool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "petiole.graph")
    graph = StateGraph(State).add_node("a", lambda state: {"log": ["a"]}).add_edge(START, "a")
    graph.compile(debug=debug, listeners=[] if debug else [LoggingListener()]).invoke({})
    said = [record.getMessage() for record in caplog.records if record.name == "petiole.graph"]
    assert any("a starts (attempt 1)" in line for line in said)
    assert any("a wrote log in" in line for line in said)
    assert said[-1].endswith("step 1 (loop), next: succeeded")

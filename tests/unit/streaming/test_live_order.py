"""What a superstep streams stays in front of what the next one does, however late its threads report."""

from __future__ import annotations

import operator
import threading
from typing import Annotated, Any, TypedDict

import pytest

from petiole import END, START, StateGraph
from petiole_workers.hop import Work
from petiole_workers.streaming.live_facts import LiveFacts


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    late: str


def test_a_task_that_is_reported_late_is_told_before_all_of_the_next_superstep(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    committed, next_ended = threading.Event(), threading.Event()
    made = LiveFacts.made

    def late(self: LiveFacts, work: Work) -> None:
        if work.claim.task.node == "late":
            committed.set()
            assert next_ended.wait(10), "the next superstep did not wait for this report"
        made(self, work)
        if work.claim.task.node == "after":
            next_ended.set()

    monkeypatch.setattr(LiveFacts, "made", late)

    def joiner(state: State) -> State:
        assert committed.wait(10)
        return {"log": ["joiner"]}

    def after(state: State, runtime: Any) -> State:
        runtime.stream_writer("from after")
        return {"log": ["after"]}

    builder = StateGraph(State)
    builder.add_node("late", lambda state: {"late": "x"})
    builder.add_node("joiner", joiner)
    builder.add_node("after", after)
    builder.add_edge(START, "late")
    builder.add_edge(START, "joiner")
    builder.add_edge(["late", "joiner"], "after")
    builder.add_edge("after", END)
    chunks = builder.compile().stream({}, stream_mode=["values", "updates", "custom"], output_keys=["late"])

    assert list(chunks) == [
        ("updates", {"joiner": None}),
        ("updates", {"late": {"late": "x"}}),
        ("values", {"late": "x"}),  # though the report of the only task that wrote it came last
        ("custom", "from after"),
        ("updates", {"after": None}),
    ]

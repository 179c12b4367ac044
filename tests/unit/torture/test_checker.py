"""The torture harness's checker must see what it is there to see: each kind of damage is done to a real run."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import msgspec
import pytest

from petiole.client import Client
from petiole_stores.memory import MemoryStore
from petiole_stores.records import Attempt, Run, Task
from petiole_workers.compiled import CompiledGraph
from petiole_workers.settings import Settings
from tests.torture.checker import Checker
from tests.torture.clients import Ticket
from tests.torture.crew import Kill
from tests.torture.graphs import make_graph, run_input
from tests.torture.oracle import Oracle
from tests.torture.takeovers import quantile, takeover_times

GRAPH = "g1"


class Spoiled(MemoryStore):
    """A store whose answers a test may change."""

    def __init__(self) -> None:
        super().__init__()
        self.spoil: dict[str, Any] = {}

    def get_run(self, run_id: str) -> Run | None:
        return self.spoil.get("run", lambda run: run)(super().get_run(run_id))

    def list_tasks(self, run_id: str) -> list[Task]:
        return self.spoil.get("tasks", lambda tasks: tasks)(super().list_tasks(run_id))

    def list_checkpoints(self, *args: Any, **kwargs: Any) -> Any:
        return self.spoil.get("checkpoints", lambda found: found)(super().list_checkpoints(*args, **kwargs))


@pytest.fixture
def store() -> Spoiled:
    return Spoiled()


@pytest.fixture
def oracle() -> Oracle:
    return Oracle(3, 1)


@pytest.fixture
def ticket(store: Spoiled, oracle: Oracle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ticket:
    """A finished run."""
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    plan = oracle.plans[GRAPH]
    graph = CompiledGraph(make_graph(plan).definition, store)
    graph.invoke(run_input(plan, 2, desk=str(tmp_path)), {"configurable": {"thread_id": "t"}})
    run = store.newest_run("t")
    assert run is not None
    return Ticket(run.run_id, "t", GRAPH, (2,), tmp_path, "plain")


@pytest.fixture
def checker(store: Spoiled, oracle: Oracle) -> Checker:
    return Checker(Client(store, settings=Settings(max_checkpoints=0)), oracle)


def test_a_sound_run_is_good(checker: Checker, ticket: Ticket) -> None:
    verdict = checker.judge([ticket])
    assert verdict.is_good, verdict
    assert verdict.executions == verdict.necessary > 0
    assert verdict.nodes > 0


def test_a_run_that_the_store_does_not_know_is_lost(checker: Checker, ticket: Ticket, store: Spoiled) -> None:
    store.spoil["run"] = lambda run: None
    assert len(checker.judge([ticket]).lost) == 1


def test_a_run_that_has_not_ended_is_stuck_and_explained(
    checker: Checker, ticket: Ticket, store: Spoiled
) -> None:
    store.spoil["run"] = lambda run: msgspec.structs.replace(run, status="running")
    store.spoil["tasks"] = lambda tasks: [
        *tasks[:-1],
        msgspec.structs.replace(tasks[-1], status="ready", next_publish=1.0),
    ]
    [text] = checker.judge([ticket]).stuck
    assert "is running" in text
    assert "ready" in text
    assert "published next in -" in text


def test_another_final_state_is_wrong(checker: Checker, ticket: Ticket) -> None:
    [text] = checker.judge([dataclasses.replace(ticket, salts=(3,))]).wrong
    assert "final state differs" in text


def test_a_cancelled_run_is_wrong_unless_it_was_asked_for(
    checker: Checker, ticket: Ticket, store: Spoiled
) -> None:
    store.spoil["run"] = lambda run: msgspec.structs.replace(run, status="cancelled")
    assert len(checker.judge([ticket]).wrong) == 1
    assert checker.judge([dataclasses.replace(ticket, may_be_cancelled=True)]).wrong == []


def test_two_outputs_in_one_place_are_doubled(checker: Checker, ticket: Ticket, store: Spoiled) -> None:
    store.spoil["tasks"] = lambda tasks: [*tasks, msgspec.structs.replace(tasks[-1], task_id="twin")]
    assert "2 outputs at" in checker.judge([ticket]).doubled[0]


def test_a_checkpoint_beside_the_line_is_doubled(checker: Checker, ticket: Ticket, store: Spoiled) -> None:
    store.spoil["checkpoints"] = lambda found: [
        *found,
        msgspec.structs.replace(found[0], checkpoint_id="beside", seq=found[0].seq + 1),
    ]
    assert "beside the line" in checker.judge([ticket]).doubled[0]


def test_an_output_that_is_not_there_is_missing(checker: Checker, ticket: Ticket, store: Spoiled) -> None:
    nodes = [task for task in store.list_tasks(ticket.run_id) if task.kind == "node"]
    store.spoil["tasks"] = lambda tasks: [task for task in tasks if task.task_id != nodes[-1].task_id]
    assert "was never committed" in checker.judge([ticket]).missing[0]


def test_an_output_without_an_execution_is_wrong(checker: Checker, ticket: Ticket) -> None:
    (ticket.desk / "journal").write_text("")
    assert all("never executed" in text for text in checker.judge([ticket]).wrong)
    assert checker.judge([ticket]).wrong


def test_what_a_trim_removes_is_no_damage_unless_it_was_the_head(
    oracle: Oracle, ticket: Ticket, store: Spoiled
) -> None:
    trimming = Checker(Client(store, settings=Settings(max_checkpoints=1)), oracle)
    store.spoil["checkpoints"] = lambda found: found[:1]
    assert trimming.judge([ticket]).is_good
    head = store.head("t")
    assert head is not None
    store.delete(head.checkpoint_id)
    verdict = trimming.judge([ticket])
    assert "cannot be read" in verdict.wrong[0]
    assert "succeeded without a checkpoint" in verdict.missing[0]


def test_takeovers_are_timed_from_the_death_to_the_next_claim(store: Spoiled, ticket: Ticket) -> None:
    lost = Attempt(attempt=1, holder="h", slot="77", claimed_at=10.0, ended_at=14.0, outcome="crashed")
    task = msgspec.structs.replace(store.list_tasks(ticket.run_id)[0], attempts=[lost], claimed_at=15.5)
    assert takeover_times([task], [Kill(11.0, "h", "77")]) == [4.5]
    assert takeover_times([task], [Kill(11.0, "h", "")]) == [4.5]
    assert takeover_times([task], [Kill(11.0, "h", "78"), Kill(11.0, "other", ""), Kill(9.0, "h", "")]) == []
    asleep = msgspec.structs.replace(lost, outcome="parked")
    waiting = msgspec.structs.replace(task, attempts=[asleep])
    assert takeover_times([waiting], [Kill(14.2, "h", "77")]) == []  # it had ended by itself
    assert quantile([1.0, 2.0, 3.0], 0.5) == 2.0
    assert quantile([], 0.5) is None

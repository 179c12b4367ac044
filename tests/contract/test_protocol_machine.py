"""The machine of single steps is run, on the memory store and on stores that break a promise, which it must find out."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from petiole_stores.memory import MemoryStore
from petiole_stores.memory_tables import Head
from petiole_stores.records import ClaimAnswer, Outcome, Run, Task, TaskRef, Trimmed
from tests.contract.protocol_machine import Machine

EXAMPLES = int(os.environ.get("PETIOLE_FUZZ_EXAMPLES", "120"))


def machine_settings(examples: int, **options: Any) -> settings:
    return settings(
        max_examples=examples,
        stateful_step_count=70,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
        **options,
    )


def test_whatever_happens_in_between() -> None:
    run_state_machine_as_test(Machine, settings=machine_settings(EXAMPLES))


class NoFence(MemoryStore):
    """Takes a finish under any token, of a task that has ended too."""

    def _refusal(self, outcome: Outcome, task: Task, run: Run, head: Head) -> str:
        return "" if run.status in ("running", "paused") else "fenced"


class Unheld(MemoryStore):
    """Lets tasks of a paused run be claimed."""

    def _claim_one(self, *arguments: Any) -> ClaimAnswer:
        run = self._runs[self._tasks[arguments[2]].run_id]
        status, run.status = run.status, "running" if run.status == "paused" else run.status
        answer = super()._claim_one(*arguments)
        run.status = status if status == "paused" else run.status
        return answer


class Forgets(MemoryStore):
    """Trims outputs that are still to be joined."""

    def _trim(self, thread_id: str, max_checkpoints: int | None) -> Trimmed:
        for task in self._thread_tasks(thread_id):
            if task.kind == "node" and task.status == "done":
                self._run_tasks[task.run_id].remove(task.task_id)
                del self._tasks[task.task_id]
        return Trimmed()


class Orphaned(MemoryStore):
    """Does not tell an owner that its namespace has succeeded."""

    def _end_namespace(self, run: Run, ns: str, ending: str, *rest: Any) -> list[TaskRef]:
        return [] if ns and ending == "succeeded" else super()._end_namespace(run, ns, ending, *rest)


MUTANTS = [
    (NoFence, "twice|left its line|two outputs|open is"),
    (Unheld, "was claimed while"),
    (Forgets, "ends with"),
    (Orphaned, "where nothing is open"),
]


@pytest.mark.parametrize(("kind", "fault"), MUTANTS)
def test_a_store_that_breaks_a_promise_is_found_out(kind: type[MemoryStore], fault: str) -> None:
    machine = type(f"{kind.__name__}Machine", (Machine,), {"kind": kind})
    found = machine_settings(300, phases=[Phase.generate], derandomize=True, database=None)
    with pytest.raises(AssertionError, match=fault):
        run_state_machine_as_test(machine, settings=found)

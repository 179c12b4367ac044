"""Random looks at what many runs and tasks make together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from petiole_stores.conformance.scene import plain
from petiole_stores.ledger_reads import STATUSES as RUN_STATUSES
from petiole_stores.records import RunFilter, RunPage, TaskFilter
from petiole_stores.store import Store
from tests.contract.calls import Call
from tests.contract.dice import Dice
from tests.contract.steps_of_upkeep import UpkeepSteps

STATUSES = ("done", "failed", "ready", "claimed", "cancelled")


@dataclass
class Pages(Call):
    """All pages of a list, one after the other; each store has cursors of its own."""

    def on(self, store: Store) -> Any:
        *first, filter = self.args
        found: list[Any] = []
        while True:
            page = getattr(store, self.method)(*first, filter)
            found.append(plain(page.runs if isinstance(page, RunPage) else page.tasks))
            if isinstance(page, RunPage) and page.counts is not None:
                assert page.counts == store.count_runs(filter), "what a page counts"
            if page.next is None:
                return found
            filter = msgspec.structs.replace(filter, cursor=page.next)


class ReaderSteps(UpkeepSteps):
    """Lists, counts and pages, narrowed at random to what is there."""

    def _list_runs(self, dice: Dice) -> Iterator[Call | None]:
        fields: dict[str, Any] = {"text": self.scene.prefix}  # a store may be shared
        runs = list(self.model._runs.values())
        if runs and dice.rarely(3):
            run = dice.pick(runs)
            part = dice.pick([run.run_id[-2:], run.thread_id[-3:].upper(), "a", "%"])
            fields |= {"text": part, "thread_id": run.thread_id}
        if dice.rarely(3):
            fields["status"] = dice.some([*RUN_STATUSES], 3)
        for name, values in (
            ("tag", ["a", "b"]), ("error_type", ["E", "WorkerLost", "DeadlineExceeded"]), ("graphs", [["g"], ["h", "g"], ["h"]]),
            ("namespaces", [self.threads[:1], self.threads[1:], ["nobody"]]), ("since", [self.scene.now - 20]),
        ):  # fmt: skip
            if dice.rarely(5):
                fields[name] = dice.pick(values)
        filter = RunFilter(limit=1 + dice(3), brief=dice.rarely(2), **fields)
        yield Pages("list_runs", (filter,))
        yield Call("count_runs", (filter,))

    def _list_tasks(self, dice: Dice) -> Iterator[Call | None]:
        run_id = dice.pick([*self.model._runs, self.scene.id("none")])
        yield Call("task_counts", (run_id,))
        tasks = self.model._tasks_of(run_id)
        fields: dict[str, Any] = {}
        yield Call("get_task", (dice.pick([*(task.task_id for task in tasks), self.scene.id("none")]),))
        if tasks and dice.rarely(2):
            task = dice.pick(tasks)
            name = dice.pick(["ns", "node", "kind", "checkpoint_id"])
            fields[name] = getattr(task, name)
        if dice.rarely(3):
            fields["status"] = dice.some(list(STATUSES), 2)
        yield Pages("tasks_page", (run_id, TaskFilter(limit=1 + dice(3), brief=dice.rarely(2), **fields)))
        yield Call(
            "list_checkpoints", (dice.pick(self.threads),), {"ns": None, "brief": True, "limit": 1 + dice(4)}
        )

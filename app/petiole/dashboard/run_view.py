"""What the pages of one run share: its record, its tasks by number, where it failed, what it asks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, NamedTuple

from petiole.client import Client
from petiole.client.answering import Question
from petiole.client.naming import label_of
from petiole.client.tries import failure_of_end, number_of
from petiole.dashboard.commands import Commands
from petiole.dashboard.forms import Field, fields_of, schema_in
from petiole.dashboard.shape import totals
from petiole_stores.errors import PetioleError
from petiole_stores.leaves import replaceable
from petiole_stores.records import SETTLED, Run, Task, TaskCount, TaskFilter
from petiole_workers.children import parent_of
from petiole_workers.failure import Failure, parse_failure

#: How many failed tasks and questions are shown one by one.
SHOWN = 20


class Failed(NamedTuple):
    """A task that failed for good, and what it was given."""

    task: Task
    label: str
    attempt: int
    failure: Failure | None
    input: Any
    trouble: str  #: why the input cannot be shown; empty where it can


class Asked(NamedTuple):
    """A question with the form that answers it; no fields: an answer is any JSON."""

    question: Question
    label: str
    fields: list[Field]
    command: str


class RunView:
    """One run as its pages show it; everything is read when it is first asked for."""

    def __init__(self, client: Client, run: Run) -> None:
        self.client, self.run = client, run
        newest = client.store.newest_run(run.thread_id)
        self.is_newest = newest is None or newest.run_id == run.run_id
        self.commands = Commands(run, newest=self.is_newest)
        self.failure = parse_failure(run.error)
        self.parent = parent_of(run)

    @cached_property
    def counts(self) -> list[TaskCount]:
        return self.client.store.task_counts(self.run.run_id)

    @cached_property
    def totals(self) -> dict[str, int]:
        """How many nodes' tasks are where."""
        return dict(totals(count for count in self.counts if count.kind == "node"))

    @property
    def is_settled(self) -> bool:
        return self.run.status in SETTLED

    @cached_property
    def names(self) -> dict[str, str]:
        """Workers' names by their ids."""
        return {worker.worker_id: worker.name for worker in self.client.workers()}

    @cached_property
    def failed(self) -> list[Failed]:
        """The tasks that the run failed of, at most twenty; the input is shown of the first."""
        if self.run.status != "failed" and not self.totals.get("failed"):
            return []
        page = self.client.store.tasks_page(self.run.run_id, TaskFilter(status=["failed"], limit=100))
        tasks = replaceable([task for task in page.tasks if not task.replaced]) or page.tasks
        return [self._failed(task, index == 0) for index, task in enumerate(tasks[:SHOWN])]

    @property
    def failed_number(self) -> int:
        return max(self.totals.get("failed", 0), len(self.failed))

    @cached_property
    def asked(self) -> list[Asked]:
        """What the run asks; nothing of a run that has none of its tasks interrupted."""
        if self.is_settled or not self.totals.get("interrupted"):
            return []
        found: Sequence[Question] = self.client.questions(self.run)[:SHOWN]
        return [self._asked(question) for question in found]

    @cached_property
    def input(self) -> tuple[Any, str]:
        """What the run was given, or why that cannot be shown."""
        return self._read(lambda: self.client.value(self.run.thread_id, self.run.input))

    @cached_property
    def values(self) -> tuple[Any, str]:
        """The state that the run has come to, or why that cannot be shown."""
        checkpoint = self.run.checkpoint_id
        if checkpoint is None:
            return None, ""
        return self._read(lambda: self.client.load_checkpoint(checkpoint).state)

    @cached_property
    def beginning(self) -> str | None:
        """The checkpoint that a run of all its nodes starts from; ``None`` where it is no longer kept."""
        run, store = self.run, self.client.store
        if run.input is None and run.base_id is not None:
            return run.base_id
        first = store.tasks_page(run.run_id, TaskFilter(kind="node", ns="", limit=1, brief=True)).tasks
        found = first[0].checkpoint_id if first else None
        return found if found is not None and store.get_checkpoint(found) is not None else None

    def input_of(self, task: Task) -> tuple[Any, str]:
        """What a task was given: its own argument, else the state of the checkpoint before it."""
        if task.arg is not None:
            return self._read(lambda: self.client.value(task.thread_id, task.arg))
        checkpoint = task.checkpoint_id
        if checkpoint is None:
            return self.input
        return self._read(lambda: self.client.load_checkpoint(checkpoint).state)

    def _failed(self, task: Task, with_input: bool) -> Failed:
        value, trouble = self.input_of(task) if with_input else (None, "")
        failure = failure_of_end(task) or parse_failure(task.error)
        return Failed(task, label_of(task), number_of(task), failure, value, trouble)

    def _asked(self, question: Question) -> Asked:
        schema = schema_in(question.value)
        return Asked(
            question,
            label_of(question.task),
            fields_of(schema) if schema else [],
            self.commands.resume(question.id, {} if schema else True),
        )

    @staticmethod
    def _read(load: Any) -> tuple[Any, str]:
        try:
            return load(), ""
        except PetioleError as error:
            return None, f"{type(error).__name__}: {error}"

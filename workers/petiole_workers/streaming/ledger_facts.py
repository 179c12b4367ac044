"""Facts of a run on workers, read back from the ledger: what has happened since a position."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from petiole_stores.records import Checkpointed, Run, Task
from petiole_stores.store import Store
from petiole_workers.documents import Documents, written_keys
from petiole_workers.failure import parse_failure
from petiole_workers.graph import START
from petiole_workers.resuming import interrupts_of
from petiole_workers.streaming.cursor import OpenStep, Position
from petiole_workers.streaming.facts import (
    CheckpointMade,
    Fact,
    PlannedTask,
    TaskEnded,
    TaskInterrupted,
    TasksBegun,
    input_keys,
    start_of,
)
from petiole_workers.streaming.speaking import Spoken

#: Checkpoints that are read at once.
PAGE = 50


@dataclass(frozen=True, slots=True)
class Told:
    """A fact with its name, which is the same whenever it is read, and what it does to a position."""

    name: str
    fact: Fact
    move: Callable[[Position], None]


class Ledger:
    """One look at the ledger. Made after the run was read, so that all of one that has ended is seen.

    Checkpoints are read before tasks: a superstep that has settled is seen with the ends of all its tasks.
    """

    def __init__(self, store: Store, documents: Documents, run: Run, position: Position) -> None:
        self._store, self._documents, self._run = store, documents, run
        self._position = position
        self._records = self._newer(position.seq)
        self._tasks: dict[str | None, list[Task]] = {}
        tasks = store.list_tasks(run.run_id)
        for task in tasks:
            if task.kind == "node":
                self._tasks.setdefault(task.checkpoint_id, []).append(task)
        self._replaced = [task.ns for task in tasks if task.replaced]
        #: The questions that wait for an answer, by the ids of their tasks and of those around these.
        self._asked = (
            interrupts_of(tasks, documents.serde) if any(it.status == "interrupted" for it in tasks) else {}
        )
        self._indexes = {
            task.task_id: index for tasks in self._tasks.values() for index, task in enumerate(tasks)
        }

    def facts(self) -> Iterator[Told]:
        """What has happened since the position; each fact moves it before the next one is asked for."""
        for record in [it for it in self._records if it.seq > self._position.seq]:
            before = self._position.steps.get(record.ns)
            if before is not None:
                yield from self._progress(record.ns, before)
            yield self._checkpoint(record)
        # The innermost first: a graph that is a node ends, and asks, after what is in it.
        steps = sorted(self._position.steps.items(), key=lambda it: it[0].count("|") if it[0] else -1)
        for ns, step in reversed(steps):
            yield from self._progress(ns, step)

    def find(self, name: str) -> Told | None:
        """The fact of this name that the position stands in the middle of, if the ledger still has it."""
        kind, _, id = name.partition(":")
        if kind == "c":
            return next((self._checkpoint(it) for it in self._records if it.checkpoint_id == id), None)
        for ns, step in self._position.steps.items() if name else ():
            for told in self._progress(ns, step):
                if told.name == name:
                    return told
        return None

    def knows(self, by: Spoken) -> bool:
        """Whether the position is past the beginning of a task, or the ledger has not heard of that task's superstep."""
        step = self._position.steps.get(by.ns)
        if step is None or step.step != by.step - 1:
            return True
        index = self._indexes.get(by.task_id)
        return index is None or index < step.begun

    # ---------------------------------------------------------------- checkpoints

    def _newer(self, after: int) -> list[Checkpointed]:
        """The run's checkpoints above this seq, oldest first."""
        found: list[Checkpointed] = []
        before: int | None = None
        limit = 1  # most looks find nothing new
        while True:
            page = self._store.list_checkpoints(self._run.thread_id, ns=None, before=before, limit=limit)
            for record in page:
                if record.seq <= after or self._is_older(record):
                    return found[::-1]
                if record.run_id == self._run.run_id:
                    found.append(record)
            if len(page) < limit:
                return found[::-1]
            before, limit = page[-1].seq, PAGE

    def _is_older(self, record: Checkpointed) -> bool:
        """Whether a checkpoint was made before the run was there: nothing of the run is older still."""
        return record.run_id not in (None, self._run.run_id) and record.created_at < self._run.created_at

    def _checkpoint(self, record: Checkpointed) -> Told:
        tasks = self._tasks.get(record.checkpoint_id, [])
        first: dict[str, Task] = {}
        for task in tasks:
            first.setdefault(task.path, task)
        planned = [PlannedTask.of(task) for task in first.values()]
        if record.source == "input" or (not planned and f'"{START}"' in record.next):
            planned = [start_of(record)]
        waits = bool(tasks) and all(map(_waits, tasks))
        fact = CheckpointMade(record, planned, self._written(record), waits)

        def move(position: Position) -> None:
            position.seq = record.seq
            position.steps.pop(record.ns, None)
            if first:
                begun = 0 if waits else len(first)
                position.steps[record.ns] = OpenStep(record.checkpoint_id, record.step, begun)

        return Told(f"c:{record.checkpoint_id}", fact, move)

    def _written(self, record: Checkpointed) -> frozenset[str] | None:
        """The keys that made a checkpoint; ``None``: who wrote them is gone from the ledger."""
        tasks = self._tasks.get(record.parent_id, [])
        if tasks:
            outputs = [task.output for task in tasks if task.status == "done" and task.output is not None]
            return frozenset(key for output in outputs for key in written_keys(output))
        parent = self._store.get_checkpoint(record.parent_id) if record.parent_id else None
        if parent is None or parent.source != "input" or self._run.input is None:
            return None
        return input_keys(self._documents, self._run)

    # ---------------------------------------------------------------- tasks

    def _progress(self, ns: str, step: OpenStep) -> Iterator[Told]:
        """What became of a superstep's tasks, in the order in which they ended."""
        tasks = self._tasks.get(step.checkpoint_id, [])
        begun, more = step.begun, tasks[step.begun :]
        yield from self._ends(ns, step, list(enumerate(tasks[:begun])))
        if more and not all(map(_waits, more)):
            record = self._store.get_checkpoint(step.checkpoint_id)
            if record is not None:
                yield _begun(ns, record, more, len(tasks))
                yield from self._ends(ns, step, list(enumerate(more, begun)))
        for index, task in enumerate(tasks) if self._asked else ():
            if task.status != "interrupted":  # around a question, and others are still at work within
                continue
            told = step.asked.get(index, [])
            questions = tuple(it for it in self._asked.get(task.task_id, ()) if it.id not in told)
            if questions and (record := self._store.get_checkpoint(step.checkpoint_id)) is not None:
                yield _interrupted(ns, record, index, replace(PlannedTask.of(task), interrupts=questions))

    def _ends(self, ns: str, step: OpenStep, tasks: Sequence[tuple[int, Task]]) -> Iterator[Told]:
        """The ends that were not told, in their order."""
        ended = [
            (index, task)
            for index, task in tasks
            if task.status in ("done", "failed") and not self._is_told(step, index, task)
        ]
        for index, task in sorted(ended, key=lambda it: (it[1].ended_at or 0.0, it[0])):
            yield self._ended(ns, task, step.step + 1, index)

    def _is_told(self, step: OpenStep, index: int, task: Task) -> bool:
        if task.status == "failed" and task.child:
            return step.failed.get(index) == self._replaced_in(task.child)
        return step.has_ended(index)

    def _ended(self, ns: str, task: Task, step: int, index: int) -> Told:
        failed = task.status == "failed"
        ended = replace(PlannedTask.of(task), output=None if failed else task.output)

        def move(position: Position) -> None:
            if failed and task.child:
                position.steps[ns].failed[index] = self._replaced_in(task.child)
            else:
                position.steps[ns].end(index)

        fact = TaskEnded(ended, task.thread_id, step, parse_failure(task.error) if failed else None)
        return Told(f"t:{task.task_id}", fact, move)

    def _replaced_in(self, child: str) -> int:
        """How many tasks in the graph that a task is were replaced by a replay."""
        return sum(ns == child or ns.startswith(f"{child}|") for ns in self._replaced)


def _begun(ns: str, record: Checkpointed, tasks: Sequence[Task], count: int) -> Told:
    def move(position: Position) -> None:
        position.steps[ns].begun = count

    return Told(f"b:{ns}:{count}", TasksBegun(record, [*map(PlannedTask.of, tasks)]), move)


def _interrupted(ns: str, record: Checkpointed, index: int, task: PlannedTask) -> Told:
    def move(position: Position) -> None:
        asked = position.steps[ns].asked.setdefault(index, [])
        asked.extend(question.id for question in task.interrupts)

    return Told(f"i:{task.task_id}:{task.interrupts[0].id}", TaskInterrupted(task, record), move)


def _waits(task: Task) -> bool:
    """Whether a task has not been let run yet: its superstep was stopped before it."""
    return task.status == "interrupted" and task.attempt == 0

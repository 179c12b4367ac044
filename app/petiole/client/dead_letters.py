"""Dead letters: tasks that failed for good and that nobody has replayed or dropped.

A node that is a graph fails with a task of that graph: only the task itself is one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from petiole_stores.leaves import replaceable
from petiole_stores.records import Run, Task
from petiole_stores.store import Store
from petiole_workers.failure import Failure, parse_failure

#: The error of a task whose process died under it ``max_crashes`` times.
POISON = "WorkerLost"


class DeadLetter(msgspec.Struct, kw_only=True, frozen=True):
    """One task that failed for good, and the run that failed of it."""

    task: Task
    run: Run
    failure: Failure

    @property
    def attempts(self) -> int:
        """How many tries were made; several may have been made in one claim."""
        return max(self.task.attempt, self.failure.attempt)

    @property
    def is_poison(self) -> bool:
        return self.failure.type == POISON


def dead_letters_of(
    store: Store,
    runs: Iterable[Run],
    *,
    node: str | None = None,
    error_type: str | None = None,
    since: float | None = None,
    until: float | None = None,
    poison: bool = False,
) -> Iterator[DeadLetter]:
    """The dead letters of failed runs; ``since`` and ``until`` bound the time at which the task failed."""
    for run in runs:
        store.hint(run.thread_id, [run.run_id])
        for task in replaceable(store.list_tasks(run.run_id)):
            if task.dropped:
                continue
            failure = parse_failure(task.error) or Failure(type="Unknown", message="no error is on record")
            letter = DeadLetter(task=task, run=run, failure=failure)
            ended = task.ended_at or 0.0
            if (
                node in (None, task.node)
                and (error_type is None or failure.is_a(error_type))
                and (since is None or ended >= since)
                and (until is None or ended < until)
                and (letter.is_poison or not poison)
            ):
                yield letter

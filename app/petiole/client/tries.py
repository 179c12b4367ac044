"""Every try at a task, as history tells it: those that left a worker, and those that a worker made again itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from petiole_stores.records import ENDED, Task
from petiole_workers.failure import Failure, parse_failure


class Try(NamedTuple):
    """One try that did not end its task."""

    number: int  #: 1 for the task's first one
    outcome: str  #: ``retry lost crashed released``, or ``failed`` when the same worker tried again at once
    holder: str | None
    began: float | None
    ended: float | None
    failure: Failure | None


def tries_of(task: Task) -> list[Try]:
    """The tries before the one that ended the task, or that goes on, oldest first."""
    return [*_tries(task)]


def _tries(task: Task) -> Iterator[Try]:
    for attempt in task.attempts:
        failure = parse_failure(attempt.error)
        yield from _within(failure, attempt.holder)
        number = failure.attempt if failure and failure.attempt else attempt.attempt
        yield Try(number, attempt.outcome, attempt.holder, attempt.claimed_at, attempt.ended_at, failure)
    if task.status in ENDED:
        last = parse_failure(task.error)
        yield from _within(last, task.holder)
        if last is not None and failure_of_end(task) is None:
            yield Try(last.attempt, "failed", task.holder, None, None, last)


def _within(failure: Failure | None, holder: str | None) -> Iterator[Try]:
    for earlier in failure.earlier if failure else ():
        yield Try(earlier.attempt, "failed", holder, None, None, earlier)


def failure_of_end(task: Task) -> Failure | None:
    """What the task failed of, or waits after; nothing for one that succeeded in the end (``handled``: by its handler)."""
    failure = parse_failure(task.error)
    return None if failure and task.status == "done" and not failure.handled else failure


def number_of(task: Task) -> int:
    """The number of the task's last try; the ledger's own counts those that left a worker alone."""
    failure = parse_failure(task.error)
    if failure is None:
        return task.attempt
    if task.status not in ENDED:
        return task.attempt + (max(failure.tries - task.failures, 0) if task.failures else 0)
    return max(task.attempt, failure.attempt + (failure_of_end(task) is None))

"""Interrupts that wait, and the answers that let their tasks go on."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from petiole_stores.errors import InputError
from petiole_stores.leaves import resumable
from petiole_stores.records import Resumption, Task
from petiole_stores.serde import Serde
from petiole_workers.graph import Interrupt
from petiole_workers.progress import Progress

_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Pending:
    """A task that is interrupted: by a question, or (``id`` is ``None``) because the graph was told to stop there."""

    task: Task
    progress: Progress

    @property
    def id(self) -> str | None:
        return self.progress.asked.id if self.progress.asked else None

    def interrupt(self, serde: Serde) -> Interrupt | None:
        """The question as the node asked it."""
        asked = self.progress.asked
        return Interrupt(asked.value.value(serde, self.task.thread_id), asked.id) if asked else None

    def answered(self, value: Any, serde: Serde) -> Resumption:
        """Let the task go on with an answer."""
        progress = self.progress.with_answer(value, serde, self.task.thread_id)
        return Resumption(
            task_id=self.task.task_id, token=self.task.done_token or "", progress=progress.text()
        )

    def released(self) -> Resumption:
        """Let the task go on without one: a question is asked again."""
        return Resumption(task_id=self.task.task_id, token=self.task.done_token or "")


def pending(tasks: Iterable[Task]) -> list[Pending]:
    """The tasks among a run's that wait for an answer, in the order of their paths: not those that wait because a task in
    their namespace does."""
    found = [Pending(task, Progress.read(task.progress)) for task in resumable(tasks) if not task.replaced]
    return sorted(found, key=lambda one: (one.task.ns, one.task.path))


def interrupts_of(tasks: Sequence[Task], serde: Serde) -> dict[str, tuple[Interrupt, ...]]:
    """The questions that wait, by the id of the task that asked, and of each task in whose namespace that is."""
    owners = {task.child: task for task in tasks if task.child and not task.replaced}
    found: dict[str, tuple[Interrupt, ...]] = {}
    for one in pending(tasks):
        question = one.interrupt(serde)
        task: Task | None = one.task
        while task is not None and question is not None:
            found[task.task_id] = (*found.get(task.task_id, ()), question)
            task = owners.get(task.ns)
    return found


def resumptions(tasks: Sequence[Task], resume: Any, serde: Serde) -> list[Resumption]:
    """What ``Command(resume=...)`` means for a run's tasks.

    A dict whose keys all are ids of interrupts answers each of these; an id that was answered before counts for nothing.
    Anything else answers the one interrupt that waits. Where none waits (the graph was told to stop), it answers in advance
    the first one that the stopped task comes to.

    Raises InputError for an id that the run does not know, and for one answer where several interrupts wait.
    """
    waiting = pending(tasks)
    asked = {one.id: one for one in waiting if one.id is not None}
    if is_by_id(resume):
        known = {answer.id for task in tasks for answer in Progress.read(task.progress).answers}
        unknown = [key for key in resume if key not in asked and key not in known]
        if unknown:
            raise InputError(
                f"no interrupt of this run has the id {unknown[0]!r}: waiting are {_named(asked)}"
            )
        return [asked[key].answered(value, serde) for key, value in resume.items() if key in asked]
    if len(asked) > 1:
        raise InputError(
            f"{len(asked)} interrupts wait for an answer ({_named(asked)}): answer them by id, as a dict of id and answer"
        )
    if asked:
        return [one.answered(resume, serde) for one in asked.values()]
    if len(waiting) > 1:
        raise InputError(
            f"no interrupt waits for an answer, and {len(waiting)} tasks were stopped: let them go on without one"
        )
    return [one.answered(resume, serde) for one in waiting]


def is_by_id(resume: Any) -> bool:
    """Whether what resumes a run is a dict of interrupts' ids and answers."""
    return (
        isinstance(resume, Mapping)
        and bool(resume)
        and all(isinstance(key, str) and _ID.fullmatch(key) for key in resume)
    )


def _named(asked: Mapping[str, Pending]) -> str:
    return ", ".join(f"{key} of {one.task.node!r}" for key, one in asked.items()) or "none"

"""Questions that an interrupted run waits with, and what an answer to them means."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from itertools import chain, islice
from typing import Any, NamedTuple

from petiole.client.naming import label_of
from petiole.client.plain import shown
from petiole_stores.errors import ConflictError, InputError, PetioleError
from petiole_stores.records import Resumption, Run, RunFilter, Task
from petiole_stores.serde import Serde
from petiole_stores.store import Store
from petiole_workers.active import PAGE, active_run, runs_of
from petiole_workers.graph import MISSING, Interrupt
from petiole_workers.progress import Progress
from petiole_workers.resuming import Pending, is_by_id, pending, resumptions

#: How many questions are told one by one.
TOLD = 5


class Question(NamedTuple):
    """One interrupted task of a run: it has asked something, or (``id`` is ``None``) its graph is to stop there."""

    task: Task
    id: str | None
    value: Any  #: what was asked
    trouble: str  #: why that cannot be read here; empty where it can
    command: str  #: what answers it, or lets the run go on

    @property
    def sentence(self) -> str:
        """What the task waits for, in a sentence without ids."""
        label = label_of(self.task)
        if self.id is None:
            return f"the run is interrupted before {label} and waits to be resumed"
        asked = f"something that cannot be read here ({self.trouble})" if self.trouble else shown(self.value)
        return f"{label} asks {asked} and waits for the answer"


class Reply(NamedTuple):
    """What a caller of ``resume`` has given: one value, one for an interrupt, several by id, or nothing."""

    value: Any = MISSING
    id: str | None = None
    answers: Mapping[str, Any] | None = None

    @property
    def is_empty(self) -> bool:
        return self.value is MISSING and self.answers is None

    @property
    def ids(self) -> Sequence[str]:
        """The interrupts that it names."""
        if self.answers is not None:
            return [*self.answers]
        return [] if self.id is None else [self.id]

    def checked(self) -> Reply:
        """The same, a value that is a dict of ids and answers taken as such. Raises InputError for a contradiction."""
        if self.answers is not None and (self.value is not MISSING or self.id is not None):
            raise InputError("answers is given with a value or an id: give all answers by id, or one value")
        if self.id is not None and self.value is MISSING:
            raise InputError(f"the interrupt {self.id!r} is named without an answer: give a value")
        if self.answers is not None and not self.answers:
            raise InputError("answers is empty: give a dict of id and answer, or leave it out")
        return Reply(answers=self.value) if self.id is None and is_by_id(self.value) else self


def questions_of(tasks: Sequence[Task], serde: Serde, target: str) -> list[Question]:
    """The interrupted tasks among a run's, in the order of their paths.

    ``target`` is what names the run on a command line. What cannot be read here is said to be so, and can be answered still.
    """
    return [_question(one, serde, target) for one in pending(tasks)]


def target_of(run: Run, newest: Run | None) -> str:
    """What names a run on a command line: its thread, if that is enough. ``newest``: the thread's newest run."""
    thread = shlex.quote(run.thread_id)
    return thread if newest is None or newest.run_id == run.run_id else f"{thread} --run {run.run_id}"


def told(questions: Sequence[Question]) -> list[str]:
    """A line for each question with the command that answers it; where there are many, the first of them."""
    lines = [f"{one.sentence}: {one.command}" for one in questions[:TOLD]]
    if (rest := len(questions) - TOLD) > 0:
        thread = shlex.quote(questions[0].task.thread_id)
        lines.append(f"and {rest} more: petiole run interrupts {thread}")
    return lines


def interrupts_in(tasks: Sequence[Task], serde: Serde) -> list[Interrupt]:
    """The questions that wait, each once. Raises UnfitError where a class of theirs is not known here."""
    asked = (one.interrupt(serde) for one in pending(tasks))
    return [question for question in asked if question is not None]


def answered_run(store: Store, thread_id: str, reply: Reply) -> Run | None:
    """The run of a thread that an answer is for: the one that knows the ids it names, else the active one."""
    active = active_run(store, thread_id)
    if not reply.ids:
        return active
    others = islice(runs_of(store, RunFilter(thread_id=thread_id, limit=PAGE)), PAGE)
    for run in chain([active] if active else [], others):
        asked, answered = _ids_of(store.list_tasks(run.run_id))
        if asked | answered >= {*reply.ids}:
            return run
    return active


def answers_for(store: Store, run: Run, reply: Reply) -> list[Resumption]:
    """The tasks that go on with what was given; none where all of it had been answered before.

    Raises InputError for an id that the run does not know, and for one value where several interrupts wait;
    ConflictError where nothing waits for a value, and for an interrupt whose task was taken away.
    """
    tasks = store.list_tasks(run.run_id)
    where = f"run {run.run_id} of thread {run.thread_id!r}"
    look = f"`petiole run interrupts {shlex.quote(run.thread_id)}` lists those that wait"
    if reply.ids:
        answers = reply.answers if reply.answers is not None else {reply.id: reply.value}
        _check_ids(reply.ids, tasks, where, look)
        return resumptions(tasks, dict(answers), store.serde)
    waiting = pending(tasks)
    asked = [one for one in waiting if one.id is not None]
    if not waiting:
        raise ConflictError(
            f"{where} is {run.status}, and nothing in it waits for an answer: only an interrupted run can be resumed"
        )
    if len(asked) > 1:
        named = ", ".join(f"{one.id} of {label_of(one.task)}" for one in asked[:TOLD])
        named += ", …" if len(asked) > TOLD else ""
        raise InputError(
            f"{len(asked)} interrupts of {where} wait ({named}), so that one answer is not clear: answer each by its id "
            f"(id= or answers=, --id), {look}"
        )
    return resumptions(tasks, reply.value, store.serde)


def _check_ids(ids: Sequence[str], tasks: Sequence[Task], where: str, look: str) -> None:
    """Raise InputError for an id that was never asked under, ConflictError for one whose task was taken away."""
    waiting, asked, answered = {one.id for one in pending(tasks)}, *_ids_of(tasks)
    for id in ids:
        if id not in waiting and id not in answered:
            if id in asked:
                raise ConflictError(
                    f"the interrupt {id} of {where} waits no longer, its task was cancelled: {look}"
                )
            raise InputError(f"{where} has no interrupt of the id {id!r}: {look}")


def _ids_of(tasks: Sequence[Task]) -> tuple[set[str], set[str]]:
    """The ids of the interrupts of these tasks that were not answered, and of those that were."""
    known = [Progress.read(task.progress) for task in tasks if task.progress]
    asked = {progress.asked.id for progress in known if progress.asked}
    return asked, {answer.id for progress in known for answer in progress.answers if answer.id}


def _question(one: Pending, serde: Serde, target: str) -> Question:
    command = f"petiole run resume {target}"
    if one.id is None:
        return Question(one.task, None, None, "", command)
    value, trouble = None, ""
    try:
        asked = one.interrupt(serde)
        value = asked.value if asked else None
    except PetioleError as error:
        trouble = f"{type(error).__name__}: {error}"
    return Question(one.task, one.id, value, trouble, f"{command} --id {one.id} --value JSON")

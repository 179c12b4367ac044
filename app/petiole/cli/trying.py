"""Tasks with every try at them, as text: what failed, of what, and when it was tried again."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from petiole.cli.output import counted, times, took
from petiole.client.answering import Question
from petiole.client.explaining.tasks import is_owner
from petiole.client.naming import label_of, name_of
from petiole.client.tries import failure_of_end, number_of, tries_of
from petiole_stores.records import Task
from petiole_workers.failure import Failure


def task_rows(
    task: Task, workers: Mapping[str, str], questions: Mapping[str, Question]
) -> Iterator[Sequence[object]]:
    """A task's row, and one under it for each earlier try.

    ``workers`` has the names of those that are known, ``questions`` what tasks ask, by their ids.
    """

    def name(holder: str | None) -> str | None:
        return workers.get(holder or "", holder or "")

    yield (
        label_of(task),
        task.status,
        number_of(task),
        name(task.holder),
        took(task.claimed_at, task.ended_at),
        task.task_id,
        _end(task, questions),
    )
    for it in tries_of(task):
        yield "", it.outcome, it.number, name(it.holder), took(it.began, it.ended), "", line(it.failure)


def story(tasks: Iterable[Task], questions: Mapping[str, Question]) -> str:
    """How tasks went and what they ask (``questions``, by their ids): those without trouble beside each other, each other one on lines of its own.

    Of tasks that went alike, as those of a fan-out do, the words come once, with their number: ``branch done ×1000``.
    """
    smooth: list[str] = []
    troubled: Counter[tuple[str, ...]] = Counter()
    for task in tasks:
        number = number_of(task)
        text = f"{name_of(task)} {task.status}" + (f" (attempt {number})" if number > 1 else "")
        tries, end = tries_of(task), _end(task, questions)
        if not tries and not end:
            smooth.append(text)
            continue
        troubled[
            f"{text}: {end}" if end else text,
            *(f"  attempt {it.number} {it.outcome}: {line(it.failure)}".rstrip(": ") for it in tries),
        ] += 1
    below = ["\n".join((first + times(count), *rest)) for (first, *rest), count in troubled.items()]
    return "\n".join(filter(None, (counted(smooth), *below)))


def write_tracebacks(tasks: Iterable[Task]) -> None:
    """Print the traceback of every failed try, oldest first."""
    for task in tasks:
        tries = [(it.number, it.outcome, it.failure) for it in tries_of(task)]
        end = failure_of_end(task)
        if end is not None and not (tries and tries[-1][2] == end):  # else it waits after its last try
            tries.append((number_of(task), task.status, end))
        for number, outcome, failure in tries:
            if failure is not None and failure.traceback:
                print(f"\n{task.node} (task {task.task_id}), attempt {number}, {outcome}:")
                print(failure.traceback.rstrip())


def line(failure: Failure | None) -> str:
    """Type and message on one line."""
    return f"{failure.type}: {failure.message}".splitlines()[0] if failure else ""


def _end(task: Task, questions: Mapping[str, Question]) -> str:
    """What there is to say of a task beside its status."""
    failure = failure_of_end(task)
    if failure and failure.handled:
        return f"handled: {line(failure)}"
    if failure:
        return line(failure)
    question = questions.get(task.task_id)
    if question is not None and question.id is not None:
        return f"{question.sentence} (id {question.id}): {question.command}"
    if task.awaits and task.status == "parked":
        return f"waits for the signal {task.awaits!r}"
    return "waits for its subgraph" if is_owner(task) else ""

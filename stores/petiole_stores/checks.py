"""What a ledger asks of its arguments before any backend sees them."""

from __future__ import annotations

import re

from petiole_stores.errors import InputError
from petiole_stores.records import NewRun, Outcome, RunFilter, Settle, TaskFilter

MAX_ID = 255
#: How many records a page has at the most.
MAX_PAGE = 1000


def check_outcome(outcome: Outcome) -> None:
    """Raise InputError for an outcome that no ledger could judge."""
    settle = outcome.settle
    if outcome.ending != "done" and settle is not None:
        raise InputError(
            f"task {outcome.task_id}: an outcome that is {outcome.ending!r} cannot bring a settle"
        )
    if outcome.ending != "parked" and (outcome.nest is not None or outcome.awaits):
        raise InputError(
            f"task {outcome.task_id}: an outcome that is {outcome.ending!r} cannot bring a nest or await a signal"
        )
    if outcome.nest is not None:
        if outcome.delay or outcome.awaits:
            raise InputError(
                f"task {outcome.task_id}: it waits for its namespace alone: give no delay and no awaits"
            )
        check_settle(outcome.task_id, outcome.nest)
        if not outcome.nest.checkpoints[0].ns:
            raise InputError(f"task {outcome.task_id}: its nest has no namespace")
    if settle is not None:
        check_settle(outcome.task_id, settle)
    elif outcome.ending not in ("retry", "parked") and not (outcome.advance_id and outcome.advance_token):
        raise InputError(
            f"task {outcome.task_id}: an outcome without a settle needs advance_id and advance_token"
        )


def check_settle(task_id: str, settle: Settle) -> None:
    """Raise InputError for a settle that does not hold together."""
    if not settle.checkpoints:
        raise InputError(f"task {task_id}: its settle has no checkpoint")
    spaces = {checkpoint.ns for checkpoint in settle.checkpoints} | {task.ns for task in settle.tasks}
    if len(spaces) > 1:
        raise InputError(f"task {task_id}: its settle is of the namespaces {sorted(spaces)}: give one")
    waiting = {task.status for task in settle.tasks}
    fits = {
        "running": waiting == {"ready"},
        "interrupted": waiting == {"interrupted"},
        "succeeded": not waiting,
    }
    if not fits[settle.run_status]:
        raise InputError(
            f"task {task_id}: a settle to {settle.run_status!r} does not fit tasks that are {sorted(waiting)}"
        )


def check_times(run: NewRun) -> None:
    """Raise InputError for a run whose times contradict each other or are out of range."""
    if run.run_at is not None and run.delay is not None:
        raise InputError(f"run {run.run_id} has run_at and delay: give one of them")
    if run.deadline is not None and run.lifetime is not None:
        raise InputError(f"run {run.run_id} has deadline and lifetime: give one of them")
    if run.delay is not None and not 0 <= run.delay < 1e11:
        raise InputError(f"run {run.run_id} has a delay of {run.delay!r} s: take a number from 0")
    if run.lifetime is not None and not 0 < run.lifetime < 1e11:
        raise InputError(f"run {run.run_id} has a lifetime of {run.lifetime!r} s: take a number above 0")


def check_id(name: str, value: str) -> None:
    """Raise InputError unless ``value`` is 1 to 255 printable characters."""
    if not value or len(value) > MAX_ID or not value.isprintable():
        shown = value if len(value) <= 40 else value[:40] + "…"
        raise InputError(f"{name} is {shown!r}: it needs 1 to {MAX_ID} printable characters")


def check_run_filter(filter: RunFilter) -> None:
    """Raise InputError for a filter of runs that no store could follow."""
    _check_page(filter.limit, filter.cursor)
    named = ("graph", "thread_id", "tag", "error_type", "text", "status", "graphs", "namespaces")
    for name in named:
        _check_text(name, getattr(filter, name))


def check_task_filter(filter: TaskFilter) -> None:
    """Raise InputError for a filter of tasks that no store could follow."""
    _check_page(filter.limit, filter.cursor)
    for name in ("ns", "node", "kind", "checkpoint_id", "status"):
        _check_text(name, getattr(filter, name))


def place_of(cursor: str | None) -> int | None:
    """The number that a cursor begins with."""
    return None if cursor is None else int(cursor.partition(".")[0])


def _check_page(limit: int, cursor: str | None) -> None:
    if not 1 <= limit <= MAX_PAGE:
        raise InputError(f"limit is {limit}: take a number from 1 to {MAX_PAGE} and page with the cursor")
    if cursor is not None and not re.fullmatch(r"[0-9]{1,18}(\.[^\0\ud800-\udfff]*)?", cursor):
        raise InputError(f"cursor is {cursor[:40]!r}: take the `next` of the page before as it is")


def _check_text(name: str, value: str | list[str] | None) -> None:
    """What no store can hold it cannot be asked for either: NUL and lone surrogates."""
    for text in [value] if isinstance(value, str) else value or ():
        if re.search(r"[\0\ud800-\udfff]", text):
            raise InputError(f"{name} is {text[:40]!r}: no record can have such a character, leave it out")

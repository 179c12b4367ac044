"""What a run waits for, from its record, its tasks and the workers."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from petiole.client.answering import questions_of, target_of
from petiole.client.explaining.explanation import Explanation, Superstep, Wait
from petiole.client.explaining.roster import Roster
from petiole.client.explaining.tasks import Depth, open_waits, subgraph_waits
from petiole.client.naming import label_of, name_of
from petiole.client.reasons import kind_of, reason_of
from petiole_stores.leaves import replaceable
from petiole_stores.records import ENDED, HELD_BACK, SETTLED, Run, Task
from petiole_stores.store import Store
from petiole_workers.active import active_run
from petiole_workers.children import awaited_run, children_of
from petiole_workers.failure import parse_failure

#: How many waits of one kind are told one by one.
SHOWN = 10


def explain(store: Store, run: Run, *, now: float, depth: Depth | None = None) -> Explanation:
    """What the run waits for. ``depth`` asks the broker how many messages a queue has; without, it is not asked."""
    tasks = [task for task in store.list_tasks(run.run_id) if not task.replaced]
    roster = Roster(store.list_workers(), now)
    target = target_of(run, store.newest_run(run.thread_id))
    waits = [*_waits(store, run, tasks, roster, target, depth)]
    return Explanation(
        thread_id=run.thread_id,
        run_id=run.run_id,
        graph=run.graph,
        status=run.status,
        summary=_summary(run, waits),
        superstep=_superstep(tasks),
        waits=_short(waits),
        now=now,
    )


def _waits(
    store: Store, run: Run, tasks: Sequence[Task], roster: Roster, target: str, depth: Depth | None
) -> Iterator[Wait]:
    if run.status in SETTLED:
        if run.status == "failed":
            yield from _dead_letters(run, tasks, target)
        return
    ahead = active_run(store, run.thread_id) if run.status == "queued" else None
    if ahead is not None and ahead.run_id != run.run_id:
        yield _behind(run, ahead)
    elif run.status == "interrupted":
        yield from _interrupts(store, tasks, target)
    else:
        if run.status in HELD_BACK:
            yield _held_back(run, target)
            depth = None
        if not roster.alive and run.status != "paused":
            yield Wait(
                kind="no_worker",
                subject="workers",
                detail="no worker is alive: nothing is run, woken or taken over",
                command="petiole worker --graphs module:attribute",
            )
        yield from _interrupts(store, tasks, target)
        held = [task for task in tasks if run.status not in HELD_BACK or task.status != "ready"]
        yield from open_waits(run, held, roster, depth if roster.alive else None)
    yield from subgraph_waits(tasks)
    yield from _children(store, tasks, roster.now)
    if run.deadline is not None:
        yield Wait(
            kind="deadline",
            subject=run.run_id,
            detail="the run fails as DeadlineExceeded unless it has ended by then",
            until=run.deadline,
        )


def _held_back(run: Run, target: str) -> Wait:
    why = reason_of(run)
    if run.status == "paused":
        command = f"petiole run unpause {target}"
        return Wait(kind="paused", subject=run.run_id, detail=f"the run is paused: {why}", command=command)
    damaged = kind_of(run) == "Corruption"
    return Wait(
        kind="blocked",
        subject=run.graph,
        detail=f"the run is blocked: {why}",
        command="petiole db verify --repair" if damaged else "petiole worker --graphs module:attribute",
    )


def _behind(run: Run, ahead: Run) -> Wait:
    return Wait(
        kind="behind",
        subject=ahead.run_id,
        detail=f"the run is queued behind run {ahead.run_id}, which is {ahead.status}",
        since=run.created_at,
        command=f"petiole run explain {shlex.quote(run.thread_id)} --run {ahead.run_id}",
    )


def _interrupts(store: Store, tasks: Sequence[Task], target: str) -> Iterator[Wait]:
    for question in questions_of(tasks, store.serde, target):
        named = f" (id {question.id})" if question.id else ""
        yield Wait(
            kind="interrupt",
            subject=name_of(question.task),
            detail=f"{question.sentence}{named}",
            since=question.task.ended_at or question.task.created_at,
            command=question.command,
        )


def _dead_letters(run: Run, tasks: Sequence[Task], target: str) -> Iterator[Wait]:
    for task in replaceable(tasks):
        failure = parse_failure(task.error)
        what = f"{failure.type}: {failure.message}" if failure else "no reason is on record"
        dropped = " (taken off the dead letters)" if task.dropped else ""
        yield Wait(
            kind="dead_letter",
            subject=name_of(task),
            detail=f"{label_of(task)} failed after attempt {max(task.attempt, failure.attempt if failure else 0)}{dropped}: {what}",
            since=task.ended_at,
            command=f"petiole run replay {target}",
        )


def _children(store: Store, tasks: Sequence[Task], now: float) -> Iterator[Wait]:
    """The runs of other graphs that nodes wait for, and what these wait for in turn."""
    for task in tasks:
        run_id = awaited_run(task.awaits) if task.status == "parked" else None
        if run_id is None:
            continue
        child = next((it for it in children_of([task]) if it.run_id == run_id), None)
        if child is not None:
            store.hint(child.thread_id, [run_id])
        run = store.get_run(run_id)
        if run is None:
            detail, command = f"run {run_id}, which is gone", ""
        else:
            found = explain(store, run, now=now)
            detail = f"its child of graph {run.graph!r}: {found.summary}"
            command = next((wait.command for wait in found.waits if wait.command), "") or (
                f"petiole run explain {shlex.quote(run.thread_id)} --run {run_id}"
            )
        yield Wait(
            kind="child",
            subject=run_id,
            detail=f"{label_of(task)} waits for {detail}; it holds no worker meanwhile",
            since=task.attempts[-1].ended_at if task.attempts else task.created_at,
            until=task.run_at,
            command=command,
        )


def _superstep(tasks: Sequence[Task]) -> Superstep | None:
    if not tasks:
        return None
    found = [task for task in tasks if not task.ns]
    found = [task for task in found if task.checkpoint_id == found[-1].checkpoint_id]
    waiting = [task for task in found if task.status not in ENDED or task.status == "interrupted"]
    return Superstep(total=len(found), open=len(waiting))


def _summary(run: Run, waits: Sequence[Wait]) -> str:
    where = f"run {run.run_id} of thread {run.thread_id!r}"
    if run.status == "succeeded":
        return f"{where} has succeeded: it waits for nothing"
    if run.status == "cancelled":
        failure = parse_failure(run.error)
        return f"{where} was cancelled" + (f": {failure.message}" if failure else "")
    telling = [wait for wait in waits if wait.kind != "deadline"]
    if telling:
        more = f" (and {len(telling) - 1} more)" if len(telling) > 1 else ""
        return f"{where} is {run.status}: {telling[0].detail}{more}"
    if run.status == "failed":
        return f"{where} is failed: {parse_failure(run.error) or 'no reason is on record'}"
    return f"{where} is {run.status} and no task of it is open: `petiole db verify` checks what is stored"


def _short(waits: Sequence[Wait]) -> list[Wait]:
    """The waits with the many of one kind told as one, so that they fit on a screen."""
    kept: list[Wait] = []
    for kind in dict.fromkeys(wait.kind for wait in waits):
        alike = [wait for wait in waits if wait.kind == kind]
        kept += alike[:SHOWN]
        if rest := alike[SHOWN:]:
            kept.append(
                Wait(
                    kind=kind,
                    subject=f"{len(rest)} more",
                    detail=f"{len(rest)} more of this kind: `petiole run tasks` lists all",
                    since=min((wait.since for wait in rest if wait.since is not None), default=None),
                    until=max((wait.until for wait in rest if wait.until is not None), default=None),
                    command=rest[0].command,
                )
            )
    return kept

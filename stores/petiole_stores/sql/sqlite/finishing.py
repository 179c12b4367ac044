"""Attempts end: judged under their tokens, counted down, settled; or put off, for a time, a signal or a namespace."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from petiole_stores.records import (
    ADVANCE_PATH,
    HELD_BACK,
    SETTLED,
    FinishAnswer,
    NewTask,
    Outcome,
    Settle,
    TaskRef,
)
from petiole_stores.sql.sqlite.claims import claim_record
from petiole_stores.sql.sqlite.ending import Place, count_down, end_namespace
from petiole_stores.sql.sqlite.rows import insert_blobs, insert_checkpoint
from petiole_stores.sql.sqlite.work import MADE_READY, Owner, Work

_JUDGED = """
SELECT t.run_id, t.thread_id, t.ns, t.checkpoint_id, t.kind, t.priority, t.status, t.token, t.done_token, r.status,
    h.checkpoint_id, coalesce(h.open, 0), coalesce(h.width, 0), h.owner, t.woken
FROM tasks t JOIN runs r ON r.run_id = t.run_id LEFT JOIN heads h ON h.thread_id = t.thread_id AND h.ns = t.ns
WHERE t.task_id = ?"""
_HELD_ADVANCE = "SELECT 1 FROM tasks WHERE task_id = ? AND status = 'claimed' AND token = ?"
_END = "UPDATE tasks SET status = ?, ended_at = ?, done_token = ?, output = ?, error = ? WHERE task_id = ?"
_PUT_OFF = """
UPDATE tasks SET done_token = ?, token = NULL, holder = NULL, slot = NULL, progress = coalesce(?, progress)
WHERE task_id = ?"""
_KEEP = "UPDATE tasks SET progress = ? WHERE task_id = ?"
_COUNT_FAILURE = "UPDATE tasks SET failures = failures + 1, error = ? WHERE task_id = ?"
_PARK = "UPDATE tasks SET status = 'parked', run_at = ?, next_publish = NULL, awaits = ? WHERE task_id = ?"
_MAKE_READY = f"UPDATE tasks SET {MADE_READY} WHERE task_id = ?"
_COUNT = "UPDATE heads SET open = ? WHERE thread_id = ? AND ns = ?"
_OWN = "UPDATE tasks SET child = ? WHERE task_id = ?"
_HEAD = "SELECT checkpoint_id FROM heads WHERE thread_id = ? AND ns = ?"
_GOES_ON = """
SELECT 1 FROM tasks WHERE run_id = ? AND checkpoint_id = ? AND ns = ? AND NOT replaced
    AND status NOT IN ('done', 'cancelled') LIMIT 1"""
_OPEN_BELOW = """
INSERT INTO heads (thread_id, ns, run_id, owner) VALUES (?, ?, ?, ?)
ON CONFLICT (thread_id, ns) DO UPDATE SET run_id = excluded.run_id, owner = excluded.owner"""
_MOVE = "UPDATE heads SET checkpoint_id = ?, open = ?, width = ? WHERE thread_id = ? AND ns = ?"
_GO_ON = """
UPDATE runs SET status = ?1, reason = CASE WHEN status = ?1 THEN reason END, checkpoint_id = ?2
WHERE run_id = ?3"""
_REMEMBER = """
UPDATE runs SET version = ?, fingerprint = ? WHERE run_id = ? AND version IS NULL AND fingerprint IS NULL"""


class _Judged(Place):
    """A task to be ended, with its run and its head as they are and become."""

    def __init__(self, row: Sequence[Any]) -> None:
        super().__init__(Owner(row[0], row[1]), row[2], row[3], row[13], row[9], row[11])
        self.kind: str = row[4]
        self.priority: Any = row[5]
        self.status, self.token, self.done_token = row[6:9]
        self.head: str | None = row[10]
        self.width: int = row[12]
        self.woken = bool(row[14])

    def refusal(self, outcome: Outcome) -> str:
        if self.token != outcome.token:
            return "fenced"
        if self.run_status in SETTLED:
            return f"run {self.run_status}"
        if self.status not in ("claimed", "ready"):
            return "fenced"
        if outcome.settle is not None:
            if self.kind == "node" and self.width != 1:
                return "not alone"
            if self.head != outcome.settle.checkpoints[0].parent_id:
                return "head moved"
        return ""


def finish(work: Work, holder: str, slot: str, outcomes: Sequence[Outcome]) -> list[FinishAnswer]:
    work.ends = frozenset(outcome.task_id for outcome in outcomes)
    return [_finish_one(work, holder, slot, outcome) for outcome in outcomes]


def _finish_one(work: Work, holder: str, slot: str, outcome: Outcome) -> FinishAnswer:
    db = work.db
    answer = FinishAnswer(task_id=outcome.task_id, result="refused", reason="missing")
    row = db.execute(_JUDGED, (outcome.task_id,)).fetchone()
    if row is None:
        return answer
    task = _Judged(row)
    answer.open, answer.run_status = task.open, task.run_status
    if task.done_token == outcome.token:
        if db.execute(_HELD_ADVANCE, (outcome.advance_id, outcome.advance_token)).fetchone():
            answer.advance = claim_record(work, outcome.advance_id)
        answer.result, answer.reason = "already", ""
        return answer
    answer.reason = task.refusal(outcome) or _refused_below(work, task, outcome.nest)
    if answer.reason:
        return answer
    answer.result = "committed"
    insert_blobs(db, task.run.thread_id, outcome.blobs, work.now)
    if outcome.ending in ("retry", "parked"):
        _put_off(work, outcome, task.woken)
        if outcome.nest is not None:
            answer.publish = _nest(work, holder, slot, task, outcome.task_id, outcome.nest)
            answer.open, answer.run_status = task.open, task.run_status
        return answer
    db.execute(
        _END,
        (outcome.ending, work.now, outcome.token, outcome.output, outcome.error, outcome.task_id),
    )
    if outcome.ending == "interrupted" and outcome.progress is not None:
        db.execute(_KEEP, (outcome.progress, outcome.task_id))
    if outcome.settle is not None:
        answer.publish = _settle(work, holder, slot, task, outcome.settle)
    else:
        ending, answer.publish = count_down(work, task)
        if ending == "done":
            task.open = 1
            db.execute(_COUNT, (1, task.run.thread_id, task.ns))
            work.insert_tasks([_advance(task, outcome)], task.run, task.checkpoint_id, holder, slot)
            answer.advance = claim_record(work, outcome.advance_id)
    answer.open, answer.run_status = task.open, task.run_status
    return answer


def _refused_below(work: Work, task: Place, nest: Settle | None) -> str:
    """Why a namespace cannot be opened, or gone on in."""
    if nest is None:
        return ""
    first = nest.checkpoints[0]
    found = work.db.execute(_HEAD, (task.run.thread_id, first.ns)).fetchone()
    if first.parent_id != (found and found[0]):
        return "head moved"
    goes_on = found and work.db.execute(_GOES_ON, (task.run.run_id, first.parent_id, first.ns)).fetchone()
    return "busy" if goes_on else ""


def _put_off(work: Work, outcome: Outcome, woken: bool) -> None:
    """The attempt is over, the task is not."""
    work.log_attempt(outcome.task_id, outcome.ending, outcome.error)
    work.db.execute(_PUT_OFF, (outcome.token, outcome.progress, outcome.task_id))
    if outcome.ending == "retry":
        work.db.execute(_COUNT_FAILURE, (outcome.error, outcome.task_id))
    waits = outcome.delay > 0 or outcome.awaits or outcome.nest is not None
    if waits and not (outcome.awaits and woken):
        run_at = work.now + outcome.delay if outcome.delay > 0 else None
        work.db.execute(_PARK, (run_at, outcome.awaits, outcome.task_id))
    else:
        work.db.execute(_MAKE_READY, (*work.ready_at, outcome.task_id))


def _nest(work: Work, holder: str, slot: str, task: _Judged, task_id: str, nest: Settle) -> list[TaskRef]:
    """Open a namespace, or go on in one: the task waits for its end."""
    ns = nest.checkpoints[0].ns
    work.db.execute(_OWN, (ns, task_id))
    work.db.execute(_OPEN_BELOW, (task.run.thread_id, ns, task.run.run_id, task_id))
    below = Place(task.run, ns, None, task_id, task.run_status)
    publish = _settle(work, holder, slot, below, nest)
    if nest.run_status != "running":
        task.look_again(work)
    return publish


def _advance(task: _Judged, outcome: Outcome) -> NewTask:
    """The superstep's closing task, which the finisher of its last open one holds from the start."""
    return NewTask(
        task_id=outcome.advance_id,
        path=ADVANCE_PATH,
        node=ADVANCE_PATH,
        kind="advance",
        ns=task.ns,
        queue=outcome.advance_queue,
        priority=task.priority,
        token=outcome.advance_token,
    )


def _settle(work: Work, holder: str, slot: str, place: Place, settle: Settle) -> list[TaskRef]:
    db = work.db
    run_id, thread_id = place.run
    for checkpoint in settle.checkpoints:
        insert_checkpoint(db, checkpoint, thread_id, run_id, work.now)
    head = settle.checkpoints[-1].checkpoint_id
    place.open = sum(new.status == "ready" for new in settle.tasks)
    db.execute(_MOVE, (head, place.open, len(settle.tasks), thread_id, place.ns))
    held_back = place.run_status in HELD_BACK
    if settle.tasks:
        tasks = settle.tasks
        if held_back:
            tasks = [new if new.task_id in work.ends else replace(new, token=None) for new in tasks]
        work.insert_tasks(tasks, place.run, head, holder, slot)
    if not place.ns:
        place.run_status = place.run_status if held_back else "running"
        db.execute(_GO_ON, (place.run_status, head, run_id))
    if settle.version is not None or settle.fingerprint is not None:
        db.execute(_REMEMBER, (settle.version, settle.fingerprint, run_id))
    if settle.run_status == "running":
        return []
    publish = end_namespace(work, place.run, place.waiter, settle.run_status)
    place.look_again(work)
    return publish


def judged(work: Work, task_id: str) -> _Judged:
    """A task that exists, as ``count_down`` takes it."""
    return _Judged(work.db.execute(_JUDGED, (task_id,)).fetchone())

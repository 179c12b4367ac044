"""Attempts end: judged under their tokens, counted down, settled."""

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
    RunStatus,
    Settle,
    TaskRef,
)
from petiole_stores.sql.sqlite.claims import claim_record
from petiole_stores.sql.sqlite.rows import insert_blobs, insert_checkpoint
from petiole_stores.sql.sqlite.submission import retire
from petiole_stores.sql.sqlite.work import MADE_READY, Owner, Work

_JUDGED = """
SELECT t.run_id, t.thread_id, t.ns, t.checkpoint_id, t.kind, t.priority, t.status, t.token, t.done_token, r.status,
    h.checkpoint_id, coalesce(h.open, 0), coalesce(h.width, 0)
FROM tasks t JOIN runs r ON r.run_id = t.run_id LEFT JOIN heads h ON h.thread_id = t.thread_id AND h.ns = t.ns
WHERE t.task_id = ?"""
_HELD_ADVANCE = "SELECT 1 FROM tasks WHERE task_id = ? AND status = 'claimed' AND token = ?"
_END = "UPDATE tasks SET status = ?, ended_at = ?, done_token = ?, output = ?, error = ? WHERE task_id = ?"
_PUT_OFF = """
UPDATE tasks SET done_token = ?, token = NULL, holder = NULL, slot = NULL, progress = coalesce(?, progress)
WHERE task_id = ?"""
_COUNT_FAILURE = "UPDATE tasks SET failures = failures + 1, error = ? WHERE task_id = ?"
_PARK = "UPDATE tasks SET status = 'parked', run_at = ?, next_publish = NULL WHERE task_id = ?"
_MAKE_READY = f"UPDATE tasks SET {MADE_READY} WHERE task_id = ?"
_COUNT = "UPDATE heads SET open = ? WHERE thread_id = ? AND ns = ?"
_OPEN = "SELECT open FROM heads WHERE thread_id = ? AND ns = ?"
_MOVE = "UPDATE heads SET checkpoint_id = ?, open = ?, width = ? WHERE thread_id = ? AND ns = ?"
_GO_ON = """
UPDATE runs SET status = ?1, reason = CASE WHEN status = ?1 THEN reason END, checkpoint_id = coalesce(?2, checkpoint_id)
WHERE run_id = ?3"""
_REMEMBER = """
UPDATE runs SET version = ?, fingerprint = ? WHERE run_id = ? AND version IS NULL AND fingerprint IS NULL"""
_END_RUN = "UPDATE runs SET status = ?, ended_at = ?, error = ?, reason = NULL WHERE run_id = ?"
#: One that fails can be replayed: it bears the error, and nobody holds it.
_END_TASKS = """
UPDATE tasks SET status = :status, ended_at = :now, next_publish = NULL, run_at = NULL,
    error = CASE :status WHEN 'failed' THEN :error ELSE error END,
    token = CASE :status WHEN 'failed' THEN NULL ELSE token END
WHERE run_id = :run_id AND status NOT IN ('done', 'failed', 'cancelled')"""
_CLOSE_HEADS = "UPDATE heads SET open = 0 WHERE thread_id = ? AND run_id = ?"
_BAD_ENDINGS = """
SELECT status, error FROM tasks
WHERE run_id = ? AND checkpoint_id IS ? AND ns = ? AND NOT replaced AND status IN ('failed', 'interrupted', 'cancelled')
ORDER BY path, seq"""


class _Judged:
    """A task to be ended, with its run and its head as they are and become."""

    def __init__(self, row: Sequence[Any]) -> None:
        self.owner = Owner(row[0], row[1])
        self.ns: str = row[2]
        self.checkpoint_id: str | None = row[3]
        self.kind: str = row[4]
        self.priority: Any = row[5]
        self.status, self.token, self.done_token = row[6:9]
        self.run_status: RunStatus = row[9]
        self.head: str | None = row[10]
        self.open: int = row[11]
        self.width: int = row[12]

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
    answer.reason = task.refusal(outcome)
    if answer.reason:
        return answer
    answer.result = "committed"
    insert_blobs(db, task.owner.thread_id, outcome.blobs, work.now)
    if outcome.ending in ("retry", "parked"):
        _put_off(work, outcome)
        return answer
    db.execute(
        _END, (outcome.ending, work.now, outcome.token, outcome.output, outcome.error, outcome.task_id)
    )
    if outcome.settle is not None:
        answer.publish = _settle(work, holder, slot, task, outcome.settle)
    else:
        answer.publish = count_down(work, task)
        if task.open == 0 and (task.run_status == "running" or task.run_status in HELD_BACK):
            task.open = 1
            db.execute(_COUNT, (1, task.owner.thread_id, task.ns))
            work.insert_tasks([_advance(task, outcome)], task.owner, task.checkpoint_id, holder, slot)
            answer.advance = claim_record(work, outcome.advance_id)
    if task.run_status in SETTLED:
        # The thread's next run may have opened the head anew.
        (task.open,) = db.execute(_OPEN, (task.owner.thread_id, task.ns)).fetchone() or (task.open,)
    answer.open, answer.run_status = task.open, task.run_status
    return answer


def _put_off(work: Work, outcome: Outcome) -> None:
    """The attempt is over, the task is not."""
    work.log_attempt(outcome.task_id, outcome.ending, outcome.error)
    work.db.execute(_PUT_OFF, (outcome.token, outcome.progress, outcome.task_id))
    if outcome.ending == "retry":
        work.db.execute(_COUNT_FAILURE, (outcome.error, outcome.task_id))
    if outcome.delay > 0:
        work.db.execute(_PARK, (work.now + outcome.delay, outcome.task_id))
    else:
        work.db.execute(_MAKE_READY, (*work.ready_at, outcome.task_id))


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


def _settle(work: Work, holder: str, slot: str, task: _Judged, settle: Settle) -> list[TaskRef]:
    db = work.db
    run_id, thread_id = task.owner
    for checkpoint in settle.checkpoints:
        insert_checkpoint(db, checkpoint, thread_id, run_id, work.now)
    head = settle.checkpoints[-1].checkpoint_id
    task.open = sum(new.status == "ready" for new in settle.tasks)
    db.execute(_MOVE, (head, task.open, len(settle.tasks), thread_id, task.ns))
    held_back = task.run_status in HELD_BACK
    if settle.tasks:
        tasks = settle.tasks
        if held_back:
            tasks = [new if new.task_id in work.ends else replace(new, token=None) for new in tasks]
        work.insert_tasks(tasks, task.owner, head, holder, slot)
    if not (held_back and settle.run_status == "running"):
        task.run_status = settle.run_status
    db.execute(_GO_ON, (task.run_status, None if task.ns else head, run_id))
    if settle.version is not None or settle.fingerprint is not None:
        db.execute(_REMEMBER, (settle.version, settle.fingerprint, run_id))
    return end_run(work, task.owner, "succeeded") if settle.run_status == "succeeded" else []


def count_down(work: Work, task: _Judged) -> list[TaskRef]:
    """One task of the superstep has ended: take it from ``open``; at zero decide what becomes of the run.

    It stays as it is if all went well. Returns what to publish.
    """
    task.open -= 1
    work.db.execute(_COUNT, (task.open, task.owner.thread_id, task.ns))
    if task.open != 0:
        return []
    found = work.db.execute(_BAD_ENDINGS, (task.owner.run_id, task.checkpoint_id, task.ns)).fetchall()
    endings = {status for status, _ in found}
    if "failed" in endings:
        task.run_status = "failed"
        return end_run(
            work, task.owner, "failed", next(error for status, error in found if status == "failed")
        )
    if "interrupted" in endings:
        task.run_status = "interrupted"
        work.db.execute(_GO_ON, ("interrupted", None, task.owner.run_id))
    elif "cancelled" in endings:
        task.run_status = "cancelled"
        return end_run(work, task.owner, "cancelled")
    return []


def judged(work: Work, task_id: str) -> _Judged:
    """A task that exists, as ``count_down`` takes it."""
    return _Judged(work.db.execute(_JUDGED, (task_id,)).fetchone())


def end_run(work: Work, owner: Owner, status: str, error: str | None = None) -> list[TaskRef]:
    """Settle a run; the thread's next queued run starts. Returns what to publish."""
    work.db.execute(_END_RUN, (status, work.now, error, owner.run_id))
    started = retire(work, owner)
    return [] if started is None else work.ready_refs(started)


def end_whole(work: Work, owner: Owner, status: str, error: str | None) -> list[TaskRef]:
    """Settle a run that is not over by itself: its open tasks end as it does. Returns what to publish."""
    values = {"run_id": owner.run_id, "status": status, "now": work.now, "error": error}
    work.db.execute(_END_TASKS, values)
    work.db.execute(_CLOSE_HEADS, (owner.thread_id, owner.run_id))
    return end_run(work, owner, status, error)

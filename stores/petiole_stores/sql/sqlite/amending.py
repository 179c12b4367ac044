"""Checkpoints made by hand: a thread's namespace goes on from them, and its active run with it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from msgspec.structs import replace

from petiole_stores.records import Amendment, Answer, NewTask, TaskRef
from petiole_stores.sql.sqlite.ending import end_namespace, wait_again
from petiole_stores.sql.sqlite.rows import insert_blobs, insert_checkpoint
from petiole_stores.sql.sqlite.work import Owner, Work

_ACTIVE = """
SELECT r.run_id, r.status FROM threads th JOIN runs r ON r.run_id = th.active_run WHERE th.thread_id = ?"""
_EXISTS = "SELECT 1 FROM checkpoints WHERE checkpoint_id = ?"
_TAKEN = (
    "SELECT 1 FROM tasks WHERE run_id = ? AND token IS NOT NULL AND status IN ('claimed', 'ready') LIMIT 1"
)
_BASE = "SELECT 1 FROM checkpoints WHERE checkpoint_id = ? AND thread_id = ? AND ns = ?"
_HEAD = "SELECT checkpoint_id, owner FROM heads WHERE thread_id = ? AND ns = ?"
#: Waiting for the namespace and nothing else: an interrupted owner with it, not by itself after its end.
_WAITS = """
SELECT 1 FROM tasks o WHERE o.task_id = :waiter AND o.run_id = :run_id AND o.child = :ns AND (
    (o.status = 'parked' AND o.run_at IS NULL AND o.awaits = '')
    OR (o.status = 'interrupted' AND EXISTS (
        SELECT 1 FROM tasks t WHERE t.run_id = :run_id AND t.ns = :ns AND t.status = 'interrupted')))"""
_NEW_THREAD = "INSERT OR IGNORE INTO threads (thread_id, created_at) VALUES (?, ?)"
_MOVE = """
INSERT INTO heads (thread_id, ns, checkpoint_id) VALUES (?, ?, ?)
ON CONFLICT (thread_id, ns) DO UPDATE SET checkpoint_id = excluded.checkpoint_id"""
_GO_ON = "UPDATE heads SET run_id = ?, open = ?, width = ? WHERE thread_id = ? AND ns = ?"
_OPEN = """
SELECT task_id, child FROM tasks WHERE run_id = ? AND ns = ? AND status NOT IN ('done', 'cancelled') AND NOT replaced"""
_WITHDRAW = """
UPDATE tasks SET replaced = 1, next_publish = NULL, run_at = NULL,
    ended_at = CASE status WHEN 'failed' THEN ended_at ELSE ?1 END,
    status = CASE status WHEN 'failed' THEN status ELSE 'cancelled' END
WHERE task_id = ?2"""
_CLOSE = "UPDATE heads SET open = 0 WHERE thread_id = ? AND ns = ?"
_CHECKPOINT = "UPDATE runs SET checkpoint_id = ? WHERE run_id = ?"
_RUN_ON = "UPDATE runs SET status = 'running' WHERE run_id = ? AND status = 'interrupted'"


class _Seen(NamedTuple):
    """The thread as an amendment finds it; ``waits``: its run, or one of its tasks, waits for the namespace."""

    run: Owner | None
    status: str
    waiter: str | None
    waits: bool


def amend(work: Work, amendment: Amendment) -> Answer:
    db, thread_id, ns = work.db, amendment.thread_id, amendment.ns
    active = db.execute(_ACTIVE, (thread_id,)).fetchone()
    run = Owner(active[0], thread_id) if active else None
    answer = Answer(run_id=run.run_id if run else "", result="already")
    last = amendment.checkpoints[-1].checkpoint_id
    if db.execute(_EXISTS, (last,)).fetchone():
        return answer
    head, waiter = db.execute(_HEAD, (thread_id, ns)).fetchone() or (None, None)
    status = active[1] if active else ""
    seen = _Seen(run, status, waiter, run is not None and _waited_for(work, run, ns, waiter))
    answer.reason = _refusal(work, amendment, seen, head)
    answer.result = "refused" if answer.reason else "committed"
    if answer.reason:
        return answer
    db.execute(_NEW_THREAD, (thread_id, work.now))
    insert_blobs(db, thread_id, amendment.blobs, work.now)
    for checkpoint in amendment.checkpoints:
        insert_checkpoint(db, checkpoint, thread_id, run.run_id if run else None, work.now)
    db.execute(_MOVE, (thread_id, ns, last))
    if run is not None and seen.waits:
        answer.publish = _go_on(work, run, seen, ns, last, amendment.tasks)
    return answer


def _waited_for(work: Work, run: Owner, ns: str, waiter: str | None) -> bool:
    """Whether the end of a namespace would be the end of the run, or of a wait of one of its tasks."""
    values = {"waiter": waiter, "run_id": run.run_id, "ns": ns}
    return not ns or work.db.execute(_WAITS, values).fetchone() is not None


def _refusal(work: Work, amendment: Amendment, seen: _Seen, head: str | None) -> str:
    db, first = work.db, amendment.checkpoints[0]
    if seen.run is not None:
        taken = seen.status == "paused" and db.execute(_TAKEN, (seen.run.run_id,)).fetchone()
        if taken or seen.status not in ("interrupted", "paused"):
            return "busy"
    base = (first.parent_id, amendment.thread_id, amendment.ns)
    if first.parent_id is not None and db.execute(_BASE, base).fetchone() is None:
        return "no base"
    if head != amendment.head_id:
        return "head moved"
    return "no run" if amendment.tasks and not seen.waits else ""


def _go_on(
    work: Work, run: Owner, seen: _Seen, ns: str, head: str, tasks: Sequence[NewTask]
) -> list[TaskRef]:
    """Put an amendment's tasks in the place of the run's; gives what to publish."""
    _withdraw(work, run, ns)
    interrupted = seen.status == "interrupted"
    made = [replace(new, status="interrupted" if interrupted else "ready", token=None) for new in tasks]
    work.insert_tasks(made, run, head)
    open = 0 if interrupted else len(made)
    work.db.execute(_GO_ON, (run.run_id, open, len(made), run.thread_id, ns))
    if not ns:
        work.db.execute(_CHECKPOINT, (head, run.run_id))
    if made and interrupted:
        return []
    if ns and seen.waiter is not None:
        wait_again(work, run.thread_id, seen.waiter)
        work.db.execute(_RUN_ON, (run.run_id,))
    if made:
        return work.ready_refs(run.run_id)
    return end_namespace(work, run, seen.waiter, "succeeded")


def _withdraw(work: Work, run: Owner, ns: str) -> None:
    """Take off what is not over, or failed, of a namespace and of those below it."""
    for task_id, child in work.db.execute(_OPEN, (run.run_id, ns)).fetchall():
        if child:
            _withdraw(work, run, child)
            work.db.execute(_CLOSE, (run.thread_id, child))
        work.db.execute(_WITHDRAW, (work.now, task_id))

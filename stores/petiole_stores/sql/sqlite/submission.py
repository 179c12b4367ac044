"""Runs come in: accepted, queued or refused; and the next of a thread is made active."""

from __future__ import annotations

from collections.abc import Sequence

from petiole_stores.records import NewRun, SubmitAnswer
from petiole_stores.sql.sqlite.rows import insert_blobs, json_text
from petiole_stores.sql.sqlite.work import MADE_READY, Owner, Work

_KNOWN = "SELECT thread_id, request_digest FROM runs WHERE run_id = ?"
_BASE = "SELECT 1 FROM checkpoints WHERE checkpoint_id = ? AND thread_id = ? AND ns = ''"
_ACTIVE = "SELECT active_run FROM threads WHERE thread_id = ?"
_NEW_THREAD = "INSERT OR IGNORE INTO threads (thread_id, created_at) VALUES (?, ?)"
_NEW_RUN = """
INSERT INTO runs (
    run_id, thread_id, graph, status, version, fingerprint, input, base_id, idempotency_key, request_digest, config,
    tags, metadata, run_at, deadline, created_at
) VALUES (?, ?, ?, 'queued', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_PARK = "UPDATE tasks SET status = 'parked', next_publish = NULL, published_at = NULL WHERE task_id = ?"

_ACTIVATE = "UPDATE threads SET active_run = ? WHERE thread_id = ?"
_OPEN = """
INSERT INTO heads (thread_id, ns, checkpoint_id, run_id, open, width) VALUES (?, '', ?, ?, 1, 1)
ON CONFLICT (thread_id, ns) DO UPDATE SET
    checkpoint_id = coalesce(excluded.checkpoint_id, checkpoint_id), run_id = excluded.run_id, open = 1, width = 1"""
_FIRST = "SELECT task_id FROM tasks WHERE run_id = ? ORDER BY seq LIMIT 1"
_FROM_HEAD = (
    "checkpoint_id = (SELECT h.checkpoint_id FROM heads h WHERE h.thread_id = tasks.thread_id AND h.ns = '')"
)
_START = f"UPDATE tasks SET {_FROM_HEAD}, {MADE_READY} WHERE task_id = ?"
_START_LATER = f"UPDATE tasks SET {_FROM_HEAD}, run_at = ? WHERE task_id = ?"
_WAIT = "UPDATE runs SET status = 'waiting' WHERE run_id = ?"
_QUEUED = (
    "SELECT run_id, base_id, run_at FROM runs WHERE thread_id = ? AND status = 'queued' AND started_at IS NULL "
    "AND ended_at IS NULL ORDER BY seq LIMIT 1"
)
_RETIRE = "UPDATE threads SET active_run = NULL WHERE thread_id = ? AND active_run = ?"


def submit(work: Work, runs: Sequence[NewRun]) -> list[SubmitAnswer]:
    return [_submit_one(work, run) for run in runs]


def _submit_one(work: Work, new: NewRun) -> SubmitAnswer:
    db = work.db
    known = db.execute(_KNOWN, (new.run_id,)).fetchone()
    if known is not None:
        thread_id, digest = known
        if digest != new.request_digest:
            return SubmitAnswer(run_id=new.run_id, thread_id=thread_id, result="refused", reason="conflict")
        refs = work.ready_refs(new.run_id)
        return SubmitAnswer(run_id=new.run_id, thread_id=thread_id, result="already", publish=refs)
    answer = SubmitAnswer(run_id=new.run_id, thread_id=new.thread_id, result="refused")
    if new.base_id is not None and db.execute(_BASE, (new.base_id, new.thread_id)).fetchone() is None:
        answer.reason = "no base"
        return answer
    thread = db.execute(_ACTIVE, (new.thread_id,)).fetchone()
    active = None if thread is None else thread[0]
    if active is not None and new.if_busy == "reject":
        answer.reason, answer.active_run = "busy", active
        return answer
    if thread is None:
        db.execute(_NEW_THREAD, (new.thread_id, work.now))
    run_at = new.run_at if new.delay is None else work.now + new.delay
    deadline = new.deadline if new.lifetime is None else max(work.now, run_at or work.now) + new.lifetime
    db.execute(_NEW_RUN, (
        new.run_id, new.thread_id, new.graph, new.version, new.fingerprint, new.input, new.base_id, new.idempotency_key,
        new.request_digest, new.config, json_text(new.tags), new.metadata, run_at, deadline, work.now,
    ))  # fmt: skip
    insert_blobs(db, new.thread_id, new.blobs, work.now)
    work.insert_tasks([new.start], Owner(new.run_id, new.thread_id), None)
    db.execute(_PARK, (new.start.task_id,))
    answer.result = "committed"
    if active is None:
        _activate(work, new.run_id, new.thread_id, new.base_id, run_at)
        answer.publish = work.ready_refs(new.run_id)
    return answer


def _activate(work: Work, run_id: str, thread_id: str, base_id: str | None, run_at: float | None) -> None:
    """Make a queued run its thread's active one: its start task is ready, or waits for ``run_at``."""
    db = work.db
    db.execute(_ACTIVATE, (run_id, thread_id))
    db.execute(_OPEN, (thread_id, base_id, run_id))
    (start,) = db.execute(_FIRST, (run_id,)).fetchone()
    if run_at is not None and run_at > work.now:
        db.execute(_WAIT, (run_id,))
        db.execute(_START_LATER, (run_at, start))
    else:
        db.execute(_START, (*work.ready_at, start))


def retire(work: Work, owner: Owner) -> str | None:
    """A run is over: if it was its thread's active one, start the thread's next queued run and return its id."""
    if not work.db.execute(_RETIRE, (owner.thread_id, owner.run_id)).rowcount:
        return None
    queued = work.db.execute(_QUEUED, (owner.thread_id,)).fetchone()
    if queued is None:
        return None
    run_id: str = queued[0]
    _activate(work, run_id, owner.thread_id, *queued[1:])
    return run_id

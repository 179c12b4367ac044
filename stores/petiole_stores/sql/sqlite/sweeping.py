"""What no message tells: dead holders, timers, deadlines, and tasks whose message was lost."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from petiole_stores.records import DEADLINE_OVER, QueueBacklog, SweepReport, TaskRef
from petiole_stores.sql.sqlite.ending import end_whole
from petiole_stores.sql.sqlite.rows import PRIORITY, REF, REF_COLUMNS, to_ref
from petiole_stores.sql.sqlite.work import HELD, Owner, Work

#: For how many seconds after its end a worker is remembered.
WORKERS_KEPT = 7 * 86400.0


_POSTPONE = "UPDATE tasks SET next_publish = ?1, published_at = ?1 WHERE task_id = ?2 AND status = 'ready'"
_FORGET = "DELETE FROM workers WHERE status IN ('dead', 'stopped') AND expires_at < ?"
_DIED = """
SELECT worker_id FROM workers
WHERE status IN ('alive', 'stopping') AND expires_at < ? AND lease <= ? ORDER BY worker_id"""
_BURY = "UPDATE workers SET status = 'dead' WHERE worker_id = ?"
_FREE = f"""
UPDATE tasks AS t SET status = 'ready', next_publish = ?, recovered = 1
WHERE {HELD} AND t.status = 'claimed' AND NOT EXISTS (
    SELECT 1 FROM workers w WHERE w.worker_id = t.holder AND w.status IN ('alive', 'stopping'))"""
_FALLEN_DUE = (
    "SELECT task_id, run_id FROM tasks WHERE status = 'parked' AND run_at IS NOT NULL AND run_at <= ?"
)
_WAKE = "UPDATE tasks SET status = 'ready', run_at = NULL, next_publish = ?, published_at = ?, publishes = 0 WHERE task_id = ?"
_START = "UPDATE runs SET status = 'queued' WHERE run_id = ? AND status = 'waiting'"
_OVERDUE = """
SELECT run_id, thread_id FROM runs WHERE deadline IS NOT NULL AND ended_at IS NULL AND deadline <= ? ORDER BY run_id"""
_BACKLOGS = f"""
SELECT t.queue, {PRIORITY} AS lane, count(*), count(*) FILTER (WHERE t.next_publish <= ?), min(t.created_at)
FROM tasks t JOIN runs r ON r.run_id = t.run_id
WHERE t.status = 'ready' AND t.next_publish IS NOT NULL AND r.status IN ('queued', 'running')
GROUP BY t.queue, lane ORDER BY t.queue, lane"""
_DUE = f"""
SELECT t.publishes, {REF_COLUMNS} FROM tasks t JOIN runs r ON r.run_id = t.run_id
WHERE t.status = 'ready' AND {{when}} AND r.status IN ('queued', 'running')
    AND (:queue IS NULL OR t.queue = :queue) AND (:priority IS NULL OR {PRIORITY} = :priority)
ORDER BY t.next_publish, t.seq LIMIT :limit"""
_DUE_NOW = _DUE.format(when="t.next_publish <= :now")
_DUE_EARLY = _DUE.format(
    when="t.next_publish IS NOT NULL AND (t.next_publish <= :now OR coalesce(t.published_at, 0.0) < :before)"
)
_PUSH = "UPDATE tasks SET publishes = publishes + 1, published_at = ?, next_publish = ? WHERE task_id = ?"


def postpone(work: Work, task_ids: Sequence[str], delay: float) -> None:
    work.db.executemany(_POSTPONE, [(work.now + delay, task_id) for task_id in task_ids])


def sweep(work: Work, observed: float) -> SweepReport:
    """All but the backlogs, which need no transaction."""
    db, now = work.db, work.now
    db.execute(_FORGET, (now - WORKERS_KEPT,))
    died = [worker_id for (worker_id,) in db.execute(_DIED, (now, observed))]
    db.executemany(_BURY, [(worker_id,) for worker_id in died])
    db.execute(_FREE, (now,))
    woken = db.execute(_FALLEN_DUE, (now,)).fetchall()
    db.executemany(_WAKE, [(now, now, task_id) for task_id, _ in woken])
    db.executemany(_START, [(run_id,) for _, run_id in woken])
    return SweepReport(now=now, died=died, woken=len(woken), expired=_expire(work))


def _expire(work: Work) -> list[str]:
    """Fail the runs whose deadline is over, with their open tasks."""
    late = [Owner(*row) for row in work.db.execute(_OVERDUE, (work.now,)).fetchall()]
    error = json.dumps({"type": "DeadlineExceeded", "message": DEADLINE_OVER})
    for owner in late:
        end_whole(work, owner, "failed", error)
    return [owner.run_id for owner in late]


def backlogs(db: sqlite3.Connection, now: float) -> list[QueueBacklog]:
    return [
        QueueBacklog(queue=queue, priority=lane, ready=ready, due=due, oldest=oldest)
        for queue, lane, ready, due, oldest in db.execute(_BACKLOGS, (now,))
    ]


def due(
    work: Work, limit: int, queue: str | None, priority: str | None, published_before: float | None
) -> list[TaskRef]:
    values = {
        "now": work.now, "limit": limit, "queue": queue, "priority": priority, "before": published_before,
    }  # fmt: skip
    statement = _DUE_NOW if published_before is None else _DUE_EARLY
    picked = work.db.execute(statement, values).fetchall()
    task_id = 1 + REF.index("task_id")
    work.db.executemany(_PUSH, [(work.now, work.backoff(row[0] + 1), row[task_id]) for row in picked])
    return [to_ref(row[1:]) for row in picked]

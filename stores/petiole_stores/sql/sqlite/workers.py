"""Workers: their leases, and the claims that they give up."""

from __future__ import annotations

import json
from collections.abc import Sequence

from petiole_stores.records import BeatAnswer, TaskRef, Worker
from petiole_stores.sql.sqlite.ending import count_down
from petiole_stores.sql.sqlite.finishing import judged
from petiole_stores.sql.sqlite.rows import json_text
from petiole_stores.sql.sqlite.work import GIVEN_BACK, HELD, Work

_KNOWN = "SELECT status FROM workers WHERE worker_id = ?"
_BEAT = """
INSERT INTO workers (
    worker_id, name, host, pid, lease, status, graphs, offers, queues, pool, concurrency, stats, started_at, beat_at,
    expires_at
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (worker_id) DO UPDATE SET
    name = excluded.name, host = excluded.host, pid = excluded.pid, lease = excluded.lease, status = excluded.status,
    graphs = excluded.graphs, offers = excluded.offers, queues = excluded.queues, pool = excluded.pool,
    concurrency = excluded.concurrency, stats = excluded.stats, beat_at = excluded.beat_at, expires_at = excluded.expires_at"""
_REVIVE = f"""
UPDATE tasks AS t SET status = 'claimed', next_publish = NULL WHERE {HELD} AND t.holder = ? AND t.status = 'ready'"""
_CLAIMED = f"""
SELECT t.task_id FROM tasks t WHERE {HELD} AND t.holder = ? AND t.status = 'claimed' ORDER BY t.task_id"""
_CLAIMS = f"""
SELECT t.task_id, t.slot, t.started, t.crashes, t.node, t.attempt FROM tasks t
WHERE {HELD} AND t.holder = ? ORDER BY t.task_id"""
_CRASH = "UPDATE tasks SET crashes = crashes + 1 WHERE task_id = ?"
_GIVE_BACK = f"UPDATE tasks SET {GIVEN_BACK} WHERE task_id = ?"
_FAIL = "UPDATE tasks SET status = 'failed', ended_at = ?, next_publish = NULL, error = ?, token = NULL WHERE task_id = ?"
_OVER = "UPDATE workers SET status = ?, expires_at = ? WHERE worker_id = ?"


def beat(work: Work, worker: Worker, published: Sequence[str]) -> BeatAnswer:
    db, now, holder = work.db, work.now, worker.worker_id
    known = db.execute(_KNOWN, (holder,)).fetchone()
    db.execute(_BEAT, (
        holder, worker.name, worker.host, worker.pid, worker.lease, worker.status, json_text(worker.graphs),
        json_text(worker.offers), json_text(worker.queues), worker.pool, worker.concurrency, json_text(worker.stats), now,
        now, now + worker.lease,
    ))  # fmt: skip
    revived = known == ("dead",)
    if revived:
        db.execute(_REVIVE, (holder,))
    work.mark_published(published)
    return BeatAnswer(
        now=now, revived=revived, claims=[task_id for (task_id,) in db.execute(_CLAIMED, (holder,))]
    )


def release(
    work: Work, holder: str, slots: Sequence[str] | None, crashed: bool, final: bool
) -> list[TaskRef]:
    db = work.db
    publish: list[TaskRef] = []
    for task_id, slot, started, crashes, node, attempt in db.execute(_CLAIMS, (holder,)).fetchall():
        if slots is not None and slot not in slots:
            continue
        charged = crashed and started
        work.log_attempt(task_id, "crashed" if charged else "released")
        if charged:
            crashes += 1
            db.execute(_CRASH, (task_id,))
        if charged and crashes >= work.max_crashes:
            publish += _fail_lost(work, task_id, crashes, node, attempt)
        else:
            db.execute(_GIVE_BACK, (work.now, task_id))
            publish.append(work.ref(task_id))
    if final:
        db.execute(_OVER, ("dead" if crashed else "stopped", work.now, holder))
    return publish


def _fail_lost(work: Work, task_id: str, crashes: int, node: str, attempt: int) -> list[TaskRef]:
    """A poison task: its process died under it too often. It fails and counts down as any other."""
    message = f"its worker process died {crashes} times while it ran (max_crashes = {work.max_crashes})"
    error = json.dumps({"type": "WorkerLost", "message": message, "node": node, "attempt": attempt})
    work.db.execute(_FAIL, (work.now, error, task_id))
    _, publish = count_down(work, judged(work, task_id))
    return publish

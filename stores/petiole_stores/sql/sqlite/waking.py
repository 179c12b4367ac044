"""Signals reach the tasks that wait for them, or that may be about to."""

from __future__ import annotations

from petiole_stores.records import TaskRef
from petiole_stores.sql.sqlite.work import Work

_REACHED = """
SELECT t.task_id, t.status FROM threads th JOIN tasks t ON t.run_id = th.active_run
WHERE th.thread_id = ?1
    AND ((t.status = 'parked' AND t.awaits = ?2) OR (t.token IS NOT NULL AND t.status IN ('claimed', 'ready')))
ORDER BY t.seq"""
_WAKE = """
UPDATE tasks SET status = 'ready', run_at = NULL, next_publish = ?1, published_at = ?1, publishes = 0, awaits = ''
WHERE task_id = ?2"""
_MARK = "UPDATE tasks SET woken = 1 WHERE task_id = ?"


def wake(work: Work, thread_id: str, name: str) -> list[TaskRef]:
    found = work.db.execute(_REACHED, (thread_id, name)).fetchall()
    waiting = [task_id for task_id, status in found if status == "parked"]
    work.db.executemany(_WAKE, [(work.now, task_id) for task_id in waiting])
    work.db.executemany(_MARK, [(task_id,) for task_id, status in found if status != "parked"])
    return [work.ref(task_id) for task_id in waiting]

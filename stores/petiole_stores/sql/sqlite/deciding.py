"""What people decide about runs that end or have ended: cancel, replay, resume, drop."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

from petiole_stores.records import RUNNABLE, SETTLED, Answer, NewTask
from petiole_stores.sql.sqlite.finishing import end_whole
from petiole_stores.sql.sqlite.work import MADE_READY, Owner, Work

_RUN = """
SELECT r.status, r.thread_id, th.active_run FROM runs r JOIN threads th ON th.thread_id = r.thread_id
WHERE r.run_id = ?"""
_EXISTS = "SELECT 1 FROM tasks WHERE task_id = ?"
_FAILED = """
SELECT t.task_id, t.path, t.node, t.kind, t.ns, t.queue, t.priority, t.arg, t.checkpoint_id,
    h.run_id IS t.run_id AND h.checkpoint_id IS t.checkpoint_id
FROM tasks t LEFT JOIN heads h ON h.thread_id = t.thread_id AND h.ns = t.ns
WHERE t.run_id = ? AND t.status = 'failed' AND NOT t.replaced"""
_REPLACE = "UPDATE tasks SET replaced = 1 WHERE task_id = ?"
_HAND_ON = (
    "UPDATE tasks SET progress = (SELECT old.progress FROM tasks old WHERE old.task_id = ?) WHERE task_id = ?"
)
_COUNT = "UPDATE heads SET open = open + ? WHERE thread_id = ? AND ns = ?"
_REPLAY = """
UPDATE runs SET status = 'queued', ended_at = NULL, error = NULL, deadline = NULL, replays = replays + 1
WHERE run_id = ?"""
_ACTIVATE = "UPDATE threads SET active_run = ? WHERE thread_id = ?"

_INTERRUPTED = "SELECT ns FROM tasks WHERE run_id = ? AND status = 'interrupted'"
_RESUME_TASKS = f"""
UPDATE tasks SET ended_at = NULL, token = NULL, holder = NULL, slot = NULL, {MADE_READY}
WHERE run_id = ? AND status = 'interrupted'"""
_RESUME = "UPDATE runs SET status = 'running' WHERE run_id = ?"
_DROP = (
    "UPDATE tasks SET dropped = 1 WHERE task_id = ? AND status = 'failed' AND NOT replaced AND NOT dropped"
)


def cancel(work: Work, run_ids: Sequence[str], reason: str) -> list[Answer]:
    return [_cancel_one(work, run_id, reason) for run_id in run_ids]


def _cancel_one(work: Work, run_id: str, reason: str) -> Answer:
    found = work.db.execute(_RUN, (run_id,)).fetchone()
    if found is None:
        return Answer(run_id=run_id, result="refused", reason="missing")
    status, thread_id, _ = found
    if status == "cancelled":
        return Answer(run_id=run_id, result="already")
    if status in SETTLED:
        return Answer(run_id=run_id, result="refused", reason=f"run {status}")
    error = json.dumps({"type": "Cancelled", "message": reason}) if reason else None
    publish = end_whole(work, Owner(run_id, thread_id), "cancelled", error)
    return Answer(run_id=run_id, result="committed", publish=publish)


def replay(work: Work, run_id: str, replacements: Sequence[tuple[str, str]]) -> Answer:
    db = work.db
    answer = Answer(run_id=run_id, result="refused")
    found = db.execute(_RUN, (run_id,)).fetchone()
    if found is None:
        answer.reason = "missing"
        return answer
    if replacements and db.execute(_EXISTS, (replacements[0][1],)).fetchone():
        answer.result = "already"
        return answer
    status, thread_id, active = found
    failed = {row[0]: row[1:] for row in db.execute(_FAILED, (run_id,))}
    if status != "failed":
        answer.reason = f"run {status}"
    elif active is not None:
        answer.reason = "busy"
    elif not all(row[-1] for row in failed.values()):
        answer.reason = "head moved"
    elif not failed or failed.keys() != {old for old, _ in replacements}:
        answer.reason = "stale"
    if answer.reason:
        return answer
    owner = Owner(run_id, thread_id)
    counts: Counter[str] = Counter()
    for old, new in replacements:
        path, node, kind, ns, queue, priority, arg, checkpoint_id, _ = failed[old]
        task = NewTask(
            task_id=new, path=path, node=node, kind=kind, ns=ns, queue=queue, priority=priority, arg=arg
        )
        work.insert_tasks([task], owner, checkpoint_id)
        counts[ns] += 1
    db.executemany(_REPLACE, [(old,) for old, _ in replacements])
    db.executemany(_HAND_ON, replacements)
    db.executemany(_COUNT, [(count, thread_id, ns) for ns, count in counts.items()])
    db.execute(_REPLAY, (run_id,))
    db.execute(_ACTIVATE, (run_id, thread_id))
    answer.result, answer.publish = "committed", work.ready_refs(run_id)
    return answer


def resume(work: Work, run_id: str) -> Answer:
    db = work.db
    found = db.execute(_RUN, (run_id,)).fetchone()
    if found is None:
        return Answer(run_id=run_id, result="refused", reason="missing")
    status, thread_id, _ = found
    if status in RUNNABLE:
        return Answer(run_id=run_id, result="already")
    if status != "interrupted":
        return Answer(run_id=run_id, result="refused", reason=f"run {status}")
    counts = Counter(ns for (ns,) in db.execute(_INTERRUPTED, (run_id,)))
    db.execute(_RESUME_TASKS, (*work.ready_at, run_id))
    db.executemany(_COUNT, [(count, thread_id, ns) for ns, count in counts.items()])
    db.execute(_RESUME, (run_id,))
    return Answer(run_id=run_id, result="committed", publish=work.ready_refs(run_id))


def drop(work: Work, task_ids: Sequence[str]) -> int:
    return work.db.executemany(_DROP, [(task_id,) for task_id in task_ids]).rowcount

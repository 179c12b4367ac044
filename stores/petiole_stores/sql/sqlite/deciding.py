"""What people decide about runs that end or have ended: cancel, replay, resume, drop."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Sequence

from petiole_stores.records import RUNNABLE, SETTLED, Answer, NewTask, Resumption
from petiole_stores.sql.sqlite.ending import end_whole, reopen
from petiole_stores.sql.sqlite.work import MADE_READY, Owner, Work

_RUN = """
SELECT r.status, r.thread_id, th.active_run FROM runs r JOIN threads th ON th.thread_id = r.thread_id
WHERE r.run_id = ?"""
_EXISTS = "SELECT 1 FROM tasks WHERE task_id = ?"
_FAILED = """
SELECT t.task_id, t.path, t.node, t.kind, t.ns, t.queue, t.priority, t.arg, t.timeout, t.checkpoint_id,
    t.child, h.run_id IS t.run_id AND h.checkpoint_id IS t.checkpoint_id
FROM tasks t LEFT JOIN heads h ON h.thread_id = t.thread_id AND h.ns = t.ns
WHERE t.run_id = ? AND t.status = 'failed' AND NOT t.replaced"""
_REPLACE = "UPDATE tasks SET replaced = 1 WHERE task_id = ?"
_HAND_ON = (
    "UPDATE tasks SET progress = (SELECT old.progress FROM tasks old WHERE old.task_id = ?) WHERE task_id = ?"
)
_OWN = "UPDATE tasks SET child = ? WHERE task_id = ?"
_OWNED = "UPDATE heads SET owner = ? WHERE thread_id = ? AND ns = ? AND owner = ?"
_REPLAY = """
UPDATE runs SET status = 'queued', ended_at = NULL, error = NULL, deadline = NULL, replays = replays + 1
WHERE run_id = ?"""
_ACTIVATE = "UPDATE threads SET active_run = ? WHERE thread_id = ?"

_INTERRUPTED = """
SELECT task_id, ns, child, coalesce(done_token, '') FROM tasks WHERE run_id = ? AND status = 'interrupted' ORDER BY seq"""
_OF_RUN = "SELECT 1 FROM tasks WHERE task_id = ? AND run_id = ?"
_RESUME_TASK = f"""
UPDATE tasks SET ended_at = NULL, token = NULL, holder = NULL, slot = NULL, progress = coalesce(?, progress), {MADE_READY}
WHERE task_id = ?"""
_RESUME = "UPDATE runs SET status = 'running' WHERE run_id = ? AND status = 'interrupted'"
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
    rows = db.execute(_FAILED, (run_id,)).fetchall()
    spaces = {row[4] for row in rows}
    failed = {row[0]: row[1:] for row in rows if not row[10] or row[10] not in spaces}
    if status != "failed":
        answer.reason = f"run {status}"
    elif active is not None:
        answer.reason = "busy"
    elif not all(row[-1] for row in rows):
        answer.reason = "head moved"
    elif not failed or failed.keys() != {old for old, _ in replacements}:
        answer.reason = "stale"
    if answer.reason:
        return answer
    owner = Owner(run_id, thread_id)
    counts: Counter[str] = Counter()
    for old, new in replacements:
        path, node, kind, ns, queue, priority, arg, timeout, checkpoint_id, child, _ = failed[old]
        task = NewTask(
            task_id=new,
            path=path,
            node=node,
            kind=kind,
            ns=ns,
            queue=queue,
            priority=priority,
            arg=arg,
            timeout=timeout,
        )
        work.insert_tasks([task], owner, checkpoint_id)
        counts[ns] += 1
        if child:
            db.execute(_OWN, (child, new))
            db.execute(_OWNED, (new, thread_id, child, old))
    db.executemany(_REPLACE, [(old,) for old, _ in replacements])
    db.executemany(_HAND_ON, replacements)
    for ns, count in counts.items():
        reopen(work, thread_id, ns, count)
    db.execute(_REPLAY, (run_id,))
    db.execute(_ACTIVATE, (run_id, thread_id))
    answer.result, answer.publish = "committed", work.ready_refs(run_id)
    return answer


def resume(work: Work, run_id: str, answers: Sequence[Resumption] | None) -> Answer:
    db = work.db
    found = db.execute(_RUN, (run_id,)).fetchone()
    if found is None:
        return Answer(run_id=run_id, result="refused", reason="missing")
    status, thread_id, _ = found
    if status in RUNNABLE and answers is None:
        return Answer(run_id=run_id, result="already")
    if status not in RUNNABLE and status != "interrupted":
        return Answer(run_id=run_id, result="refused", reason=f"run {status}")
    asking = {row[0]: row[1:] for row in db.execute(_INTERRUPTED, (run_id,))}
    spaces = {ns for ns, _, _ in asking.values()}
    waiting = {
        task_id: (ns, token)
        for task_id, (ns, child, token) in asking.items()
        if child not in spaces or not child
    }
    if answers is None:
        answers = [Resumption(task_id=task_id, token=token) for task_id, (_, token) in waiting.items()]
    if any(_is_stale(work, run_id, a.task_id, asking.keys(), waiting.keys()) for a in answers):
        return Answer(run_id=run_id, result="refused", reason="stale")
    meant = {a.task_id: a for a in reversed(answers) if waiting.get(a.task_id, ("", None))[1] == a.token}
    if not meant:
        return Answer(run_id=run_id, result="already")
    db.executemany(_RESUME_TASK, [(a.progress, *work.ready_at, a.task_id) for a in meant.values()])
    for ns, count in Counter(waiting[task_id][0] for task_id in meant).items():
        reopen(work, thread_id, ns, count)
    db.execute(_RESUME, (run_id,))
    return Answer(run_id=run_id, result="committed", publish=work.ready_refs(run_id))


def _is_stale(
    work: Work, run_id: str, task_id: str, asking: Collection[str], waiting: Collection[str]
) -> bool:
    """Is this no task of the run, or one that was interrupted with its namespace?"""
    if task_id in asking:
        return task_id not in waiting
    return work.db.execute(_OF_RUN, (task_id, run_id)).fetchone() is None


def drop(work: Work, task_ids: Sequence[str]) -> int:
    return work.db.executemany(_DROP, [(task_id,) for task_id in task_ids]).rowcount

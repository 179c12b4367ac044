"""The right to run a task: given, what comes with it, and what its holder notes meanwhile."""

from __future__ import annotations

from collections.abc import Sequence

from petiole_stores.records import RUNNABLE, Claim, ClaimAnswer, Output
from petiole_stores.sql.sqlite.reading import get_checkpoint, head, holds
from petiole_stores.sql.sqlite.rows import RUN_COLUMNS, TASK, TASK_COLUMNS, to_run, to_task
from petiole_stores.sql.sqlite.work import GIVEN_BACK, HELD, Work

_HOLDER = "SELECT status FROM workers WHERE worker_id = ?"
_SLOT_CLAIMS = f"""
SELECT t.task_id, t.token FROM tasks t WHERE {HELD} AND t.holder = ? AND t.slot = ? AND t.status = 'claimed'"""
_GIVE_BACK = f"UPDATE tasks SET {GIVEN_BACK} WHERE task_id = ?"
_ASKED = """
SELECT t.status, t.token, t.run_id, r.status FROM tasks t JOIN runs r ON r.run_id = t.run_id WHERE t.task_id = ?"""
_CLAIM = """
UPDATE tasks SET status = 'claimed', token = ?, holder = ?, slot = ?, attempt = attempt + 1, started = ?,
    claimed_at = ?, next_publish = NULL, awaits = '', woken = 0
WHERE task_id = ?"""
_RUNS = "UPDATE runs SET status = 'running', started_at = coalesce(started_at, ?) WHERE run_id = ?"
_RECORD = f"""
SELECT coalesce(h.width, 0), {TASK_COLUMNS}, {RUN_COLUMNS}
FROM tasks t JOIN runs r ON r.run_id = t.run_id LEFT JOIN heads h ON h.thread_id = t.thread_id AND h.ns = t.ns
WHERE t.task_id = ?"""
_NOTE = "UPDATE tasks SET progress = ? WHERE task_id = ?"
_OUTPUTS = """
SELECT path, node, coalesce(output, 'null') FROM tasks
WHERE run_id = ? AND checkpoint_id IS ? AND ns = ? AND kind = 'node' AND status = 'done' ORDER BY path, seq"""


def claim(
    work: Work,
    holder: str,
    slot: str,
    wants: Sequence[tuple[str, str]],
    holds: Sequence[str],
    published: Sequence[str],
) -> list[ClaimAnswer]:
    found = work.db.execute(_HOLDER, (holder,)).fetchone()
    status = found[0] if found else "unknown"
    if status not in ("alive", "stopping"):
        return [
            ClaimAnswer(task_id=task_id, result="refused", reason=f"holder {status}") for task_id, _ in wants
        ]
    kept = {*holds, *(token for _, token in wants)}
    for task_id, token in work.db.execute(_SLOT_CLAIMS, (holder, slot)).fetchall():
        if token not in kept:
            work.log_attempt(task_id, "lost")
            work.db.execute(_GIVE_BACK, (work.now, task_id))
    answers = [
        _claim_one(work, holder, slot, task_id, token, index == 0)
        for index, (task_id, token) in enumerate(wants)
    ]
    work.mark_published(published)
    return answers


def _claim_one(work: Work, holder: str, slot: str, task_id: str, token: str, first: bool) -> ClaimAnswer:
    answer = ClaimAnswer(task_id=task_id, result="refused", reason="missing")
    found = work.db.execute(_ASKED, (task_id,)).fetchone()
    if found is None:
        return answer
    status, old_token, run_id, run_status = found
    if run_status not in RUNNABLE:
        answer.reason = f"run {run_status}"
    elif status == "claimed" and old_token == token:
        return ClaimAnswer(task_id=task_id, result="already", claim=claim_record(work, task_id))
    elif status != "ready":
        answer.reason = status
    else:
        if old_token is not None:
            work.log_attempt(task_id, "lost")
        work.db.execute(_CLAIM, (token, holder, slot, int(first), work.now, task_id))
        if run_status == "queued":
            work.db.execute(_RUNS, (work.now, run_id))
        return ClaimAnswer(task_id=task_id, result="committed", claim=claim_record(work, task_id))
    return answer


def claim_record(work: Work, task_id: str) -> Claim:
    """The task, its run and its base, and for an ``advance`` what its siblings put out."""
    row = work.db.execute(_RECORD, (task_id,)).fetchone()
    run_from = 1 + len(TASK)
    task = to_task(row[1:run_from])
    # By a statement of its own: a checkpoint that is damaged is handed out as it is, to be found out by its digest.
    base = None if task.checkpoint_id is None else get_checkpoint(work.db, task.checkpoint_id)
    outputs = []
    if task.kind == "advance":
        found = work.db.execute(_OUTPUTS, (task.run_id, task.checkpoint_id, task.ns))
        outputs = [Output(path=path, node=node, output=output) for path, node, output in found]
    child = head(work.db, task.thread_id, task.child) if task.child else None
    return Claim(task=task, run=to_run(row[run_from:]), base=base, width=row[0], outputs=outputs, child=child)


def note(work: Work, task_id: str, token: str, progress: str) -> bool:
    if not holds(work.db, task_id, token):
        return False
    work.db.execute(_NOTE, (progress, task_id))
    return True

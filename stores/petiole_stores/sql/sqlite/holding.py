"""Runs are held back, paused by people or blocked because they cannot go on, and let go again."""

from __future__ import annotations

import json
from collections.abc import Sequence

from petiole_stores.records import Answer
from petiole_stores.sql.sqlite.work import Work

_RUN = """
SELECT r.status, r.started_at IS NOT NULL, th.active_run IS r.run_id
FROM runs r JOIN threads th ON th.thread_id = r.thread_id WHERE r.run_id = ?"""
_HOLD = "UPDATE runs SET status = ?, reason = ? WHERE run_id = ?"
_FIRST = "SELECT status, run_at FROM tasks WHERE run_id = ? ORDER BY seq LIMIT 1"
_LET_GO = "UPDATE runs SET status = ?, reason = NULL WHERE run_id = ?"
_DUE_AT_ONCE = "UPDATE tasks SET next_publish = ? WHERE run_id = ? AND status = 'ready'"

_GOING_ON = ("queued", "running", "waiting")


def hold_back(work: Work, run_ids: Sequence[str], status: str, kind: str, reason: str) -> list[Answer]:
    text = json.dumps({"type": kind, "message": reason})
    return [_hold_back_one(work, run_id, status, text) for run_id in run_ids]


def _hold_back_one(work: Work, run_id: str, status: str, reason: str) -> Answer:
    answer = Answer(run_id=run_id, result="refused")
    found = work.db.execute(_RUN, (run_id,)).fetchone()
    if found is None:
        answer.reason = "missing"
        return answer
    old, _, active = found
    if old == status:
        answer.result = "already"
    elif old not in _GOING_ON and (old, status) != ("blocked", "paused"):
        answer.reason = f"run {old}"
    elif not active:
        answer.reason = "not active"
    else:
        work.db.execute(_HOLD, (status, reason, run_id))
        answer.result = "committed"
    return answer


def let_go(work: Work, run_ids: Sequence[str], status: str) -> list[Answer]:
    return [_let_go_one(work, run_id, status) for run_id in run_ids]


def _let_go_one(work: Work, run_id: str, status: str) -> Answer:
    found = work.db.execute(_RUN, (run_id,)).fetchone()
    if found is None:
        return Answer(run_id=run_id, result="refused", reason="missing")
    old, started, _ = found
    if old in _GOING_ON:
        return Answer(run_id=run_id, result="already")
    if old != status:
        return Answer(run_id=run_id, result="refused", reason=f"run {old}")
    new = "running"
    if not started:
        first, run_at = work.db.execute(_FIRST, (run_id,)).fetchone()
        new = "waiting" if first == "parked" and run_at is not None else "queued"
    work.db.execute(_LET_GO, (new, run_id))
    work.db.execute(_DUE_AT_ONCE, (work.now, run_id))
    return Answer(run_id=run_id, result="committed", publish=work.ready_refs(run_id))

"""What is old goes: checkpoints beyond a number, blobs that nothing names, threads that ended long ago."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from itertools import chain

from petiole_stores.leaves import dies_with_owner
from petiole_stores.records import Trimmed
from petiole_stores.references import blobs_named
from petiole_stores.sql.sqlite import events
from petiole_stores.sql.sqlite.checkpoints import numbers_kept
from petiole_stores.sql.sqlite.reading import read_damaged
from petiole_stores.sql.sqlite.rows import json_text
from petiole_stores.sql.sqlite.work import Work

_TOP = "SELECT coalesce(max(seq), 0) FROM checkpoints"
_SINCE = "SELECT seq, thread_id FROM checkpoints WHERE seq > ? ORDER BY seq"

_SUPERFLUOUS = """
WITH kept (checkpoint_id) AS (
    SELECT base_id FROM runs WHERE thread_id = :thread
    UNION SELECT t.checkpoint_id FROM runs r JOIN tasks t ON t.run_id = r.run_id
        WHERE r.thread_id = :thread AND t.status NOT IN ('done', 'failed', 'cancelled')
    UNION SELECT checkpoint_id FROM heads WHERE thread_id = :thread
    UNION SELECT c.parent_id FROM heads h JOIN checkpoints c ON c.checkpoint_id = h.checkpoint_id
        WHERE h.thread_id = :thread
), numbered AS (
    SELECT checkpoint_id, row_number() OVER (PARTITION BY ns ORDER BY seq DESC) AS place
    FROM checkpoints WHERE thread_id = :thread
)
SELECT checkpoint_id FROM numbered
WHERE place > :most AND checkpoint_id NOT IN (SELECT checkpoint_id FROM kept WHERE checkpoint_id IS NOT NULL)"""
_GONE = "checkpoint_id IN (SELECT value FROM json_each(:gone))"
_FORGET_TASKS = (
    f"DELETE FROM tasks WHERE run_id IN (SELECT run_id FROM runs WHERE thread_id = :thread) AND {_GONE}"
)
_FORGET = f"DELETE FROM checkpoints WHERE {_GONE}"
_UNOWNED = """
SELECT h.ns FROM heads h WHERE h.thread_id = ? AND h.owner IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM tasks t WHERE t.task_id = h.owner)"""
_IN = "thread_id = :thread AND ns IN (SELECT value FROM json_each(:spaces))"
_FORGET_IN = f"DELETE FROM checkpoints WHERE {_IN}"
_FORGET_TASKS_IN = f"""
DELETE FROM tasks WHERE run_id IN (SELECT run_id FROM runs WHERE thread_id = :thread)
    AND checkpoint_id IN (SELECT checkpoint_id FROM checkpoints WHERE {_IN})"""
_FORGET_HEADS = f"DELETE FROM heads WHERE {_IN}"

_HAS_BLOBS = "SELECT EXISTS (SELECT 1 FROM blobs WHERE thread_id = ?)"
_NAMING = """
SELECT c.state, c.next, c.control, c.metadata FROM checkpoints c
WHERE c.thread_id = :thread AND instr(c.state || c.next || c.control || c.metadata, '$blob')
UNION ALL SELECT r.input, r.metadata, r.config, NULL FROM runs r
WHERE r.thread_id = :thread AND instr(coalesce(r.input, '') || r.metadata || r.config, '$blob')
UNION ALL SELECT t.arg, t.output, t.progress, NULL FROM runs r JOIN tasks t ON t.run_id = r.run_id
WHERE r.thread_id = :thread
    AND instr(coalesce(t.arg, '') || coalesce(t.output, '') || coalesce(t.progress, ''), '$blob')"""
_FORGET_BLOBS = "DELETE FROM blobs WHERE thread_id = ? AND digest NOT IN (SELECT value FROM json_each(?))"

_ACTIVE = "SELECT active_run FROM threads WHERE thread_id = ?"
_DELETE = "DELETE FROM threads WHERE thread_id = ?"
_EXPIRED = """
WITH ages (status, before) AS (VALUES {ages})
SELECT r.thread_id FROM ages a CROSS JOIN runs r ON r.status = a.status JOIN threads th ON th.thread_id = r.thread_id
WHERE r.ended_at < a.before AND th.active_run IS NULL
    AND NOT EXISTS (SELECT 1 FROM runs newer WHERE newer.thread_id = r.thread_id AND newer.seq > r.seq)
ORDER BY r.seq LIMIT ?"""


def recent(db: sqlite3.Connection, cursor: str, limit: int) -> tuple[list[str], str]:
    (top,) = db.execute(_TOP).fetchone()
    after = int(cursor or 0)
    if after > top:  # all that there was is gone: numbers begin anew
        after = 0
    found: dict[str, None] = {}
    for seq, thread_id in db.execute(_SINCE, (after,)):
        if thread_id not in found and len(found) == limit:
            break
        found[thread_id] = None
        after = seq
    return list(found), str(after)


def trim(
    work: Work, thread_id: str, most: int | None, named: Callable[[sqlite3.Connection, str], set[str] | None]
) -> Trimmed:
    """``named`` gives the digests that a thread's documents name; ``None``: that cannot be told, all blobs stay."""
    db, done = work.db, Trimmed()
    if most is not None:
        found = db.execute(_SUPERFLUOUS, {"thread": thread_id, "most": most}).fetchall()
        if found:
            values = {"thread": thread_id, "gone": json_text([checkpoint_id for (checkpoint_id,) in found])}
            with numbers_kept(db):
                done.checkpoints = db.execute(_FORGET, values).rowcount
            done.tasks = db.execute(_FORGET_TASKS, values).rowcount
        while gone := _orphans(db, thread_id):
            _forget_namespaces(db, thread_id, gone, done)
    if has_blobs(db, thread_id):
        digests = named(db, thread_id)
        if digests is not None:
            done.blobs = db.execute(_FORGET_BLOBS, (thread_id, json_text([*digests]))).rowcount
    return done


def _orphans(db: sqlite3.Connection, thread_id: str) -> list[str]:
    """The namespaces that died with their owner, whose task is gone."""
    return [ns for (ns,) in db.execute(_UNOWNED, (thread_id,)) if dies_with_owner(ns)]


def _forget_namespaces(db: sqlite3.Connection, thread_id: str, gone: list[str], done: Trimmed) -> None:
    values = {"thread": thread_id, "spaces": json_text(gone)}
    done.tasks += db.execute(_FORGET_TASKS_IN, values).rowcount
    with numbers_kept(db):
        done.checkpoints += db.execute(_FORGET_IN, values).rowcount
    db.execute(_FORGET_HEADS, values)


def has_blobs(db: sqlite3.Connection, thread_id: str) -> bool:
    return bool(db.execute(_HAS_BLOBS, (thread_id,)).fetchone()[0])


def blobs_of(db: sqlite3.Connection, thread_id: str) -> set[str]:
    """The digests that the documents in a thread's rows name."""
    return blobs_named(chain.from_iterable(read_damaged(db, _NAMING, {"thread": thread_id})))


def expired(db: sqlite3.Connection, ages: Mapping[str, float], limit: int, now: float) -> list[str]:
    statement = _EXPIRED.format(ages=", ".join(["(?, ?)"] * len(ages)))
    values = [value for status, age in ages.items() for value in (status, now - age)]
    return [thread_id for (thread_id,) in db.execute(statement, (*values, limit))]


def delete_thread(work: Work, thread_id: str) -> bool:
    found = work.db.execute(_ACTIVE, (thread_id,)).fetchone()
    if found is None:
        return True
    if found[0] is not None:
        return False
    with numbers_kept(work.db):
        work.db.execute(_DELETE, (thread_id,))
    events.forget(work, thread_id)
    return True

"""Checkpoints kept by hand: saved, deleted, cleared; and what is known of damage to them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from petiole_stores.records import Blob, NewCheckpoint
from petiole_stores.sql.sqlite.rows import insert_blobs, insert_checkpoint, replace_checkpoint
from petiole_stores.sql.sqlite.work import Work

_NEW_THREAD = "INSERT OR IGNORE INTO threads (thread_id, created_at) VALUES (?, ?)"
_EXISTS = "SELECT 1 FROM checkpoints WHERE checkpoint_id = ?"
_LEAD = """
INSERT INTO heads (thread_id, ns, checkpoint_id)
SELECT thread_id, ?, ? FROM threads WHERE thread_id = ? AND active_run IS NULL
ON CONFLICT (thread_id, ns) DO UPDATE SET checkpoint_id = excluded.checkpoint_id"""
_PLACE = """
SELECT c.thread_id, c.ns, c.parent_id, th.active_run FROM checkpoints c JOIN threads th ON th.thread_id = c.thread_id
WHERE c.checkpoint_id = ?"""
_DELETE = "DELETE FROM checkpoints WHERE checkpoint_id = ?"
_MEND = """
UPDATE heads SET checkpoint_id = coalesce(
    (SELECT c.checkpoint_id FROM checkpoints c
        WHERE c.checkpoint_id = :parent AND c.thread_id = :thread AND c.ns = :ns),
    (SELECT c.checkpoint_id FROM checkpoints c WHERE c.thread_id = :thread AND c.ns = :ns ORDER BY c.seq DESC LIMIT 1))
WHERE thread_id = :thread AND ns = :ns AND checkpoint_id = :gone"""
_ACTIVE = "SELECT active_run FROM threads WHERE thread_id = ?"
_QUARANTINE = "UPDATE checkpoints SET quarantined = ? WHERE checkpoint_id = ?"
_REPLACE_BLOB = """
INSERT INTO blobs (thread_id, digest, codec, data, checksum, created_at)
SELECT thread_id, ?, ?, ?, ?, ? FROM threads WHERE thread_id = ?
ON CONFLICT (thread_id, digest) DO UPDATE SET codec = excluded.codec, data = excluded.data, checksum = excluded.checksum"""
_TOP = "SELECT max(seq) FROM checkpoints"
_KEEP_TOP = f"UPDATE checkpoints SET seq = ?1 WHERE seq = ({_TOP}) AND seq < ?1"
_CLEAR = tuple(f"DELETE FROM {table} WHERE thread_id = ?" for table in ("checkpoints", "heads", "blobs"))


def save(
    work: Work,
    checkpoint: NewCheckpoint,
    thread_id: str,
    run_id: str | None,
    at: float,
    blobs: Sequence[Blob],
) -> None:
    db = work.db
    db.execute(_NEW_THREAD, (thread_id, work.now))
    insert_blobs(db, thread_id, blobs, work.now)
    if db.execute(_EXISTS, (checkpoint.checkpoint_id,)).fetchone():
        replace_checkpoint(db, checkpoint, thread_id, run_id, at)
        return
    insert_checkpoint(db, checkpoint, thread_id, run_id, at)
    db.execute(_LEAD, (checkpoint.ns, checkpoint.checkpoint_id, thread_id))


def delete(work: Work, checkpoint_id: str) -> bool:
    found = work.db.execute(_PLACE, (checkpoint_id,)).fetchone()
    if found is None:
        return True
    thread_id, ns, parent_id, active = found
    if active is not None:
        return False
    with numbers_kept(work.db):
        work.db.execute(_DELETE, (checkpoint_id,))
    work.db.execute(_MEND, {"parent": parent_id, "thread": thread_id, "ns": ns, "gone": checkpoint_id})
    return True


def clear(work: Work, thread_id: str) -> bool:
    found = work.db.execute(_ACTIVE, (thread_id,)).fetchone()
    if found is None:
        return True
    if found[0] is not None:
        return False
    with numbers_kept(work.db):
        for statement in _CLEAR:
            work.db.execute(statement, (thread_id,))
    return True


@contextmanager
def numbers_kept(db: sqlite3.Connection) -> Iterator[None]:
    """Within, checkpoints are removed, and yet no later one gets a number that was given before.

    SQLite gives the largest number and one; so the newest one that is left takes the largest number, if that became free.
    """
    (top,) = db.execute(_TOP).fetchone()
    yield
    if top is not None:
        db.execute(_KEEP_TOP, (top,))


def quarantine(work: Work, checkpoint_id: str, reason: str) -> bool:
    return work.db.execute(_QUARANTINE, (reason, checkpoint_id)).rowcount > 0


def replace_blobs(work: Work, thread_id: str, blobs: Sequence[Blob]) -> None:
    rows = [(blob.digest, blob.codec, blob.data, blob.checksum, work.now, thread_id) for blob in blobs]
    work.db.executemany(_REPLACE_BLOB, rows)

"""Events: each operation a statement or two on the key of the table."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from petiole_stores.events import EventWrite, StoredEvent, first_seq
from petiole_stores.sql.sqlite.work import Work

_KNOWN = "SELECT 1 FROM threads WHERE thread_id = ?"
_NEWEST = "SELECT max(seq) FROM events WHERE thread_id = ?"
_APPEND = """
INSERT OR IGNORE INTO events (thread_id, seq, run_id, event_id, kind, codec, data, created_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""
_READ = """
SELECT seq, run_id, event_id, kind, codec, data, created_at FROM events
WHERE thread_id = ? AND seq > ? ORDER BY seq LIMIT ?"""
_PURGE = """
DELETE FROM events WHERE rowid IN (SELECT rowid FROM events WHERE created_at < ? ORDER BY created_at, seq LIMIT ?)"""
_FORGET = "DELETE FROM events WHERE thread_id = ?"


def append(work: Work, thread_id: str, run_id: str, events: Sequence[EventWrite]) -> None:
    if work.db.execute(_KNOWN, (thread_id,)).fetchone() is None:
        return
    last = work.db.execute(_NEWEST, (thread_id,)).fetchone()[0]
    seq = first_seq(work.now) if last is None else last + 1
    for it in events:
        row = (thread_id, seq, run_id, it.event_id, it.kind, it.codec, it.data, work.now)
        seq += work.db.execute(_APPEND, row).rowcount


def read(db: sqlite3.Connection, thread_id: str, after: int, limit: int) -> list[StoredEvent]:
    return [StoredEvent(*row) for row in db.execute(_READ, (thread_id, after, limit))]


def newest(db: sqlite3.Connection, thread_id: str) -> int:
    return int(db.execute(_NEWEST, (thread_id,)).fetchone()[0] or 0)


def purge(work: Work, age: float, limit: int) -> int:
    return work.db.execute(_PURGE, (work.now - age, limit)).rowcount


def forget(work: Work, thread_id: str) -> None:
    """Remove the events of a thread that is deleted."""
    work.db.execute(_FORGET, (thread_id,))

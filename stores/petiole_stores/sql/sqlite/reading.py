"""What is asked without changing anything: one statement each, on an index."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any

from petiole_stores.records import SETTLED, Blob, Checkpointed, Run, Worker
from petiole_stores.sql.sqlite.connection import is_undecodable
from petiole_stores.sql.sqlite.rows import (
    CHECKPOINT_COLUMNS,
    RUN_COLUMNS,
    WORKER_COLUMNS,
    Row,
    json_text,
    to_checkpoint,
    to_run,
    to_worker,
)

_HOLDS = """
SELECT t.status, r.status FROM tasks t JOIN runs r ON r.run_id = t.run_id WHERE t.task_id = ? AND t.token = ?"""
_GET_RUN = f"SELECT {RUN_COLUMNS} FROM runs r WHERE r.run_id = ?"
_HEAD = f"""
SELECT {CHECKPOINT_COLUMNS} FROM heads h JOIN checkpoints c ON c.checkpoint_id = h.checkpoint_id
WHERE h.thread_id = ? AND h.ns = ?"""
_GET_CHECKPOINT = f"SELECT {CHECKPOINT_COLUMNS} FROM checkpoints c WHERE c.checkpoint_id = ?"
_LIST, _LIST_BRIEF = (
    f"SELECT {columns} FROM checkpoints c WHERE c.thread_id = ?"
    for columns in (CHECKPOINT_COLUMNS, CHECKPOINT_COLUMNS.replace("c.state", "''"))
)
_GET_BLOBS = """
SELECT digest, codec, data, checksum FROM blobs
WHERE thread_id = ? AND digest IN (SELECT value FROM json_each(?))"""
_LIST_WORKERS = f"SELECT {WORKER_COLUMNS} FROM workers w ORDER BY w.started_at DESC, w.worker_id"
_THREADS = "SELECT DISTINCT thread_id FROM checkpoints WHERE thread_id > ? ORDER BY thread_id LIMIT 1000"


def holds(db: sqlite3.Connection, task_id: str, token: str) -> bool:
    found = db.execute(_HOLDS, (task_id, token)).fetchone()
    return found is not None and found[0] in ("claimed", "ready") and found[1] not in SETTLED


def get_run(db: sqlite3.Connection, run_id: str) -> Run | None:
    row = db.execute(_GET_RUN, (run_id,)).fetchone()
    return None if row is None else to_run(row)


def head(db: sqlite3.Connection, thread_id: str, ns: str) -> Checkpointed | None:
    rows = read_damaged(db, _HEAD, (thread_id, ns))
    return to_checkpoint(rows[0]) if rows else None


def get_checkpoint(db: sqlite3.Connection, checkpoint_id: str) -> Checkpointed | None:
    rows = read_damaged(db, _GET_CHECKPOINT, (checkpoint_id,))
    return to_checkpoint(rows[0]) if rows else None


def list_checkpoints(
    db: sqlite3.Connection, thread_id: str, ns: str | None, before: int | None, limit: int | None, brief: bool
) -> list[Checkpointed]:
    statement, values = _LIST_BRIEF if brief else _LIST, [thread_id, *([] if ns is None else [ns])]
    if ns is not None:
        statement += " AND c.ns = ?"
    found: list[object] = [*values]
    if before is not None:
        statement += " AND c.seq < ?"
        found.append(before)
    found.append(-1 if limit is None else limit)
    rows = read_damaged(db, f"{statement} ORDER BY c.seq DESC LIMIT ?", found)
    return [to_checkpoint(row) for row in rows]


def read_damaged(
    db: sqlite3.Connection, statement: str, values: Sequence[Any] | Mapping[str, Any]
) -> list[Row]:
    """Rows whose text may be damaged: what is no UTF-8 in them is replaced, so that digests tell, not the driver."""
    try:
        return db.execute(statement, values).fetchall()
    except sqlite3.OperationalError as error:
        if not is_undecodable(error):
            raise
    db.text_factory = lambda data: data.decode(errors="replace")
    try:
        return db.execute(statement, values).fetchall()
    finally:
        db.text_factory = str


def get_blobs(db: sqlite3.Connection, thread_id: str, digests: Sequence[str]) -> dict[str, Blob]:
    rows = db.execute(_GET_BLOBS, (thread_id, json_text(list(digests))))
    found = {row[0]: Blob(digest=row[0], codec=row[1], data=row[2], checksum=row[3]) for row in rows}
    return {digest: found[digest] for digest in digests if digest in found}


def list_workers(db: sqlite3.Connection) -> list[Worker]:
    return [to_worker(row) for row in db.execute(_LIST_WORKERS)]


def threads_after(db: sqlite3.Connection, last: str) -> list[str]:
    """The next 1000 threads with checkpoints, in order."""
    return [thread_id for (thread_id,) in db.execute(_THREADS, (last,))]

"""Rows to records and back: the columns of each table in the order of the record's fields."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from petiole_stores.records import (
    Attempt,
    Blob,
    Checkpointed,
    NewCheckpoint,
    Offer,
    Run,
    Task,
    TaskRef,
    Worker,
)

Row = tuple[Any, ...]

_strings = msgspec.json.Decoder(list[str])
_attempts = msgspec.json.Decoder(list[Attempt])
_graphs = msgspec.json.Decoder(dict[str, str])
_offers = msgspec.json.Decoder(dict[str, Offer])
_stats = msgspec.json.Decoder(dict[str, float])

TASK, RUN, CHECKPOINT, WORKER = (record.__struct_fields__ for record in (Task, Run, Checkpointed, Worker))
REF = ("task_id", "run_id", "thread_id", "queue", "priority", "graph", "node", "version")


def columns(names: Iterable[str], table: str) -> str:
    """``table.a, table.b, …``"""
    return ", ".join(f"{table}.{name}" for name in names)


TASK_COLUMNS = columns(TASK, "t")
RUN_COLUMNS = columns(RUN, "r")
CHECKPOINT_COLUMNS = columns(CHECKPOINT, "c")
WORKER_COLUMNS = columns(WORKER, "w")
#: Of ``tasks t JOIN runs r``. A recovered task takes the fast lane.
PRIORITY = "CASE WHEN t.recovered THEN 'high' ELSE t.priority END"
REF_COLUMNS = f"t.task_id, t.run_id, t.thread_id, t.queue, {PRIORITY}, r.graph, t.node, r.version"


def to_task(row: Sequence[Any]) -> Task:
    task = Task(**dict(zip(TASK, row, strict=True)))
    task.started, task.recovered = bool(task.started), bool(task.recovered)
    task.replaced, task.dropped, task.woken = bool(task.replaced), bool(task.dropped), bool(task.woken)
    task.attempts = to_attempts(task.attempts)
    return task


def to_attempts(text: Any) -> list[Attempt]:
    return [] if text == "[]" else _attempts.decode(text)


def to_run(row: Sequence[Any]) -> Run:
    run = Run(**dict(zip(RUN, row, strict=True)))
    run.tags = _strings.decode(run.tags)  # type: ignore[arg-type]
    return run


def to_checkpoint(row: Sequence[Any]) -> Checkpointed:
    checkpoint = Checkpointed(**dict(zip(CHECKPOINT, row, strict=True)))
    try:
        checkpoint.node_names = _strings.decode(checkpoint.node_names)  # type: ignore[arg-type]
    except (
        msgspec.DecodeError
    ) as error:  # the row is damaged; whoever reads it is to find out, not to fail here
        checkpoint.node_names = []
        checkpoint.quarantined = checkpoint.quarantined or f"its node_names are no list: {error}"
    return checkpoint


def to_worker(row: Sequence[Any]) -> Worker:
    worker: Any = Worker(**dict(zip(WORKER, row, strict=True)))
    worker.graphs, worker.queues = _graphs.decode(worker.graphs), _strings.decode(worker.queues)
    worker.offers, worker.stats = _offers.decode(worker.offers), _stats.decode(worker.stats)
    found: Worker = worker
    return found


def to_ref(row: Sequence[Any]) -> TaskRef:
    return TaskRef(**dict(zip(REF, row, strict=True)))


def json_text(value: object) -> str:
    """Compact JSON text of a plain value or record."""
    return msgspec.json.encode(value).decode()


# ---------------------------------------------------------------- records to rows

_NEW_CHECKPOINT = NewCheckpoint.__struct_fields__
_INSERT_CHECKPOINT = "INSERT INTO checkpoints ({}, thread_id, run_id, created_at) VALUES ({})".format(
    ", ".join(_NEW_CHECKPOINT), ", ".join("?" * (len(_NEW_CHECKPOINT) + 3))
)
_REPLACE_CHECKPOINT = "UPDATE checkpoints SET {}, quarantined = NULL WHERE checkpoint_id = ?".format(
    ", ".join(f"{name} = ?" for name in (*_NEW_CHECKPOINT, "thread_id", "run_id", "created_at"))
)
_INSERT_BLOB = "INSERT OR IGNORE INTO blobs (thread_id, digest, codec, data, checksum, created_at) VALUES (?, ?, ?, ?, ?, ?)"


def insert_checkpoint(
    db: sqlite3.Connection, new: NewCheckpoint, thread_id: str, run_id: str | None, at: float
) -> None:
    db.execute(_INSERT_CHECKPOINT, _checkpoint_row(new, thread_id, run_id, at))


def replace_checkpoint(
    db: sqlite3.Connection, new: NewCheckpoint, thread_id: str, run_id: str | None, at: float
) -> None:
    db.execute(_REPLACE_CHECKPOINT, (*_checkpoint_row(new, thread_id, run_id, at), new.checkpoint_id))


def _checkpoint_row(new: NewCheckpoint, thread_id: str, run_id: str | None, at: float) -> Row:
    values = [getattr(new, name) for name in _NEW_CHECKPOINT]
    values[_NEW_CHECKPOINT.index("node_names")] = json_text(new.node_names)
    return (*values, thread_id, run_id, at)


def insert_blobs(db: sqlite3.Connection, thread_id: str, blobs: Sequence[Blob], at: float) -> None:
    if blobs:
        db.executemany(_INSERT_BLOB, [(thread_id, b.digest, b.codec, b.data, b.checksum, at) for b in blobs])

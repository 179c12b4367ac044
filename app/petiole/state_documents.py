"""Checkpoints and states of threads as JSON documents; ``out`` writes each value of a state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from petiole.documents import Document
from petiole_stores.checkpoint import Checkpoint
from petiole_workers.graph import Interrupt
from petiole_workers.snapshot import StateSnapshot, StateTask

#: How a value is written: in plain JSON, or as its typed document.
Writer = Callable[[Any], Any]


def checkpoint_document(point: Checkpoint, out: Writer) -> Document:
    """A checkpoint with all its fields."""
    return {
        "checkpoint_id": point.id,
        "thread_id": point.thread_id,
        "run_id": point.run_id,
        "ns": point.ns,
        "parent_id": point.parent_id,
        "step": point.step,
        "source": point.source,
        "node_names": list(point.node_names),
        "next": list(point.next),
        "state": out(point.state),
        "metadata": out(point.metadata),
        "timestamp": point.timestamp.isoformat(),
        "version": point.version,
    }


def snapshot_document(snapshot: StateSnapshot, out: Writer) -> Document:
    """A state with the tasks that come after it."""
    return {
        "values": out(snapshot.values),
        "next": list(snapshot.next),
        "config": snapshot.config,
        "metadata": snapshot.metadata,
        "created_at": snapshot.created_at,
        "parent_config": snapshot.parent_config,
        "tasks": [_task(task, out) for task in snapshot.tasks],
        "interrupts": [_asked(one, out) for one in snapshot.interrupts],
    }


def _task(task: StateTask, out: Writer) -> Document:
    inner = task.state if isinstance(task.state, StateSnapshot) else None
    return {
        "id": task.id,
        "name": task.name,
        "path": list(task.path),
        "error": None if task.error is None else msgspec.to_builtins(task.error),
        "interrupts": [_asked(one, out) for one in task.interrupts],
        "config": task.state if isinstance(task.state, dict) else None,
        "state": inner and snapshot_document(inner, out),
        "result": None if task.result is None else out(task.result),
    }


def _asked(question: Interrupt, out: Writer) -> Document:
    return {"value": out(question.value), "id": question.id}

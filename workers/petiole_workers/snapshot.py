"""What ``get_state`` shows of a thread: LangGraph's ``StateSnapshot``, read from the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from petiole_stores.records import Checkpointed, Output, Task
from petiole_workers.documents import Documents
from petiole_workers.failure import Failure, parse_failure


class StateTask(NamedTuple):
    """One task of the superstep that follows a checkpoint."""

    id: str
    name: str
    path: tuple[str, ...]
    error: Failure | None = None
    interrupts: tuple[Any, ...] = ()
    state: None = None
    result: dict[str, Any] | None = None


class StateSnapshot(NamedTuple):
    """A thread's state at one checkpoint.

    ``values`` are the state's keys that have a value; ``next`` the nodes that come next (those of an unfinished
    superstep that have not ended, at the head); ``metadata`` has ``source``, ``step`` and ``parents``.
    """

    values: dict[str, Any]
    next: tuple[str, ...]
    config: dict[str, Any]
    metadata: dict[str, Any] | None
    created_at: str | None
    parent_config: dict[str, Any] | None
    tasks: tuple[StateTask, ...]
    interrupts: tuple[Any, ...] = ()


def empty_snapshot(thread_id: str) -> StateSnapshot:
    """The state of a thread that has no checkpoint yet."""
    return StateSnapshot({}, (), _config(thread_id, None), None, None, None, ())


def snapshot_of(
    documents: Documents, record: Checkpointed, tasks: Sequence[Task], *, is_head: bool
) -> StateSnapshot:
    """The snapshot of one checkpoint, with the tasks of the superstep after it."""
    loaded = documents.checkpoint(record)
    shown = []
    waiting = []
    by_path = {
        task.path: task for task in tasks if task.checkpoint_id == record.checkpoint_id and not task.replaced
    }
    for spec in loaded.snapshot.next:
        task = by_path.get(spec.path)
        result = _result(documents, record.thread_id, task)
        failed = task is not None and task.status == "failed"
        shown.append(
            StateTask(
                id=task.task_id if task else "",
                name=spec.node,
                path=tuple(spec.path.split(":", 1)),
                error=parse_failure(task.error) if failed and task else None,
                result=result,
            )
        )
        if not is_head or result is None:
            waiting.append(spec.node)
    parent = _config(record.thread_id, record.parent_id) if record.parent_id else None
    return StateSnapshot(
        values=loaded.snapshot.values,
        next=tuple(waiting),
        config=_config(record.thread_id, record.checkpoint_id),
        metadata={
            "source": record.source,
            "step": record.step,
            "parents": {},
            "run_id": record.run_id,
            **msgspec.json.decode(record.metadata),
        },
        created_at=datetime.fromtimestamp(record.created_at, UTC).isoformat(),
        parent_config=parent,
        tasks=tuple(shown),
    )


def _result(documents: Documents, thread_id: str, task: Task | None) -> dict[str, Any] | None:
    """A finished task's writes as a mapping (the last of several to one key)."""
    if task is None or task.status != "done" or task.output is None:
        return None
    output = Output(path=task.path, node=task.node, output=task.output)
    return dict(documents.outputs(thread_id, [output])[0].writes)


def _config(thread_id: str, checkpoint_id: str | None) -> dict[str, Any]:
    configurable: dict[str, Any] = {"thread_id": thread_id, "checkpoint_ns": ""}
    if checkpoint_id is not None:
        configurable["checkpoint_id"] = checkpoint_id
    return {"configurable": configurable}

"""The data of chunks, in the shapes that LangGraph gives them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import msgspec

from petiole_stores.records import Checkpointed
from petiole_workers.failure import Failure
from petiole_workers.graph import GraphDefinition, Interrupt
from petiole_workers.streaming.facts import PlannedTask

Writes = Sequence[tuple[str, object]]
#: The keys of the state that a stream shows: one by its value, several as a dict, ``None`` for all.
OutputKeys = str | Collection[str] | None

#: What triggers a task that a `Send` made.
PUSH = "__pregel_push"


def shown_values(values: Mapping[str, object], keys: OutputKeys) -> Any:
    """The state as far as it is shown."""
    if keys is None:
        return dict(values)
    if isinstance(keys, str):
        return values.get(keys)
    return {key: values[key] for key in keys if key in values}


def is_shown(key: str, keys: OutputKeys) -> bool:
    return keys is None or (key == keys if isinstance(keys, str) else key in keys)


def update_of(node: str, writes: Writes, keys: OutputKeys, *, cached: bool = False) -> dict[str, Any]:
    """What a node wrote: a dict, a list where it wrote a key several times, ``None`` where it wrote nothing shown."""
    shown = [(key, value) for key, value in writes if is_shown(key, keys)]
    updates: list[Any]
    if isinstance(keys, str):
        updates = [value for _, value in shown]
    elif shown and max(Counter(key for key, _ in shown).values()) > 1:
        updates = [{key: value} for key, value in shown]
    else:
        updates = [dict(shown)] if shown else []
    update = {node: None if not updates else updates[0] if len(updates) == 1 else updates}
    return {**update, "__metadata__": {"cached": True}} if cached else update


def result_of(writes: Writes) -> dict[str, Any]:
    """A task's writes as a mapping; several to one key are ``{"$writes": [...]}``."""
    gathered: dict[str, list[object]] = {}
    for key, value in writes:
        gathered.setdefault(key, []).append(value)
    return {key: values[0] if len(values) == 1 else {"$writes": values} for key, values in gathered.items()}


def task_payload(task: PlannedTask, input: object, graph: GraphDefinition | None) -> dict[str, Any]:
    """A task that is to run."""
    return {"id": task.task_id, "name": task.node, "input": input, "triggers": triggers_of(task, graph)}


def task_result_payload(
    task: PlannedTask, writes: Writes, error: object, interrupts: Sequence[Interrupt] = ()
) -> dict[str, Any]:
    """A task that has ended."""
    return {
        "id": task.task_id,
        "name": task.node,
        "error": error,
        "result": result_of(writes),
        "interrupts": [asdict(it) for it in interrupts],
    }


def checkpoint_payload(
    record: Checkpointed, values: Mapping[str, object], tasks: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """A checkpoint with the tasks that come next (see `checkpoint_task`)."""
    return {
        "config": config_of(record, record.checkpoint_id),
        "parent_config": config_of(record, record.parent_id) if record.parent_id else None,
        "values": dict(values),
        "metadata": {
            "source": record.source,
            "step": record.step,
            "parents": {},
            **{key: value for key, value in msgspec.json.decode(record.metadata).items() if key != "cached"},
        },
        "next": [task["name"] for task in tasks],
        "tasks": list(tasks),
    }


def checkpoint_task(
    task: PlannedTask, writes: Writes | None, state: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A task within a checkpoint's payload; ``writes`` of one that has ended well, ``state`` the config of its namespace."""
    shown: dict[str, Any] = {"id": task.task_id, "name": task.node}
    if task.error is not None:
        return {**shown, "error": error_text(task.error), "state": state}
    if writes:
        shown["result"] = result_of(writes)
    return {**shown, "interrupts": tuple(asdict(it) for it in task.interrupts), "state": state}


def debug_payload(step: int, kind: str, payload: Mapping[str, Any]) -> dict[str, Any]:
    """A checkpoint's or task's payload as mode ``debug`` has it."""
    return {"step": step, "timestamp": datetime.now(UTC).isoformat(), "type": kind, "payload": payload}


def config_of(record: Checkpointed, checkpoint_id: str | None) -> dict[str, Any]:
    return {
        "configurable": {
            "checkpoint_ns": record.ns,
            "thread_id": record.thread_id,
            "checkpoint_id": checkpoint_id,
        }
    }


def triggers_of(task: PlannedTask, graph: GraphDefinition | None) -> tuple[str, ...]:
    """What can make a task of this node run: its edges, and each join that ends at it (where the graph is known)."""
    if task.path.startswith("push:"):
        return (PUSH,)
    joins = () if graph is None else tuple(join for join in graph.joins if join.end == task.node)
    return (
        f"branch:to:{task.node}",
        *(f"join:{'+'.join(join.starts)}:{task.node}" for join in joins),
    )


def error_text(error: BaseException | Failure) -> str:
    """An error as a chunk of a stored run has it, like the ``repr`` of the exception."""
    if isinstance(error, Failure):
        return f"{error.type.rpartition('.')[2]}({error.message!r})"
    return repr(error)

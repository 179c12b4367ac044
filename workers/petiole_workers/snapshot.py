"""What ``get_state`` shows of a thread: LangGraph's ``StateSnapshot``, read from the ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from petiole_stores.records import Checkpointed, Output, Task
from petiole_workers.documents import Documents
from petiole_workers.failure import Failure, parse_failure
from petiole_workers.graph import MISSING, GraphDefinition, Interrupt, next_names
from petiole_workers.graph.updates import apply_writes
from petiole_workers.nesting import namespace
from petiole_workers.resuming import interrupts_of


class StateTask(NamedTuple):
    """One task of the superstep that follows a checkpoint.

    ``state``: of a node that is a graph, the config of its state, or with ``subgraphs=True`` its `StateSnapshot`.
    """

    id: str
    name: str
    path: tuple[str, ...]
    error: Failure | None = None
    interrupts: tuple[Interrupt, ...] = ()
    state: dict[str, Any] | StateSnapshot | None = None
    result: dict[str, Any] | None = None


class StateSnapshot(NamedTuple):
    """A thread's state at one checkpoint.

    ``values`` are the state's keys that have a value; ``next`` the nodes that come next; ``metadata`` has ``source``,
    ``step`` and ``parents``. At the head of a thread they show how things stand: what the tasks of an unfinished superstep
    that have ended wrote counts, and they are not among ``next``.
    """

    values: dict[str, Any]
    next: tuple[str, ...]
    config: dict[str, Any]
    metadata: dict[str, Any] | None
    created_at: str | None
    parent_config: dict[str, Any] | None
    tasks: tuple[StateTask, ...]
    interrupts: tuple[Interrupt, ...] = ()


def empty_snapshot(thread_id: str, ns: str = "") -> StateSnapshot:
    """The state of a thread that has no checkpoint yet."""
    return StateSnapshot({}, (), state_config(thread_id, ns, None), None, None, None, ())


def snapshot_of(
    documents: Documents,
    graph: GraphDefinition,
    record: Checkpointed,
    tasks: Sequence[Task],
    *,
    is_head: bool,
    inner: Callable[[str], StateSnapshot] | None = None,
) -> StateSnapshot:
    """The snapshot of one checkpoint, with the tasks of the superstep after it.

    Parameters
        graph  the one that the checkpoint is of
        tasks  of the checkpoint's run
        inner  gives the state of a namespace, for the nodes that are graphs; without it their configs stand there
    """
    snapshot = documents.checkpoint(record).snapshot
    thread_id, values = record.thread_id, snapshot.values
    by_path = {it.path: it for it in tasks if it.checkpoint_id == record.checkpoint_id and not it.replaced}
    questions = interrupts_of(tasks, documents.serde)
    if is_head:
        values = _with_finished(documents, graph, thread_id, values, by_path.values())
    shown = []
    # As LangGraph shows them: the nodes in the order added, after the Sends.
    places = {name: place for place, name in enumerate(graph.nodes)}
    planned = sorted(snapshot.next, key=lambda it: places.get(it.node, 0) + 1 if it.arg is MISSING else 0)
    for spec in planned:
        task = by_path.get(spec.path)
        failed = task is not None and task.status == "failed"
        node = graph.nodes.get(spec.node)
        state: dict[str, Any] | StateSnapshot | None = None
        if task is not None and node is not None and node.subgraph is not None:
            ns = task.child or namespace(
                record.ns, spec.node, task.task_id, persistent=node.subgraph.persistent
            )
            state = inner(ns) if inner is not None else state_config(thread_id, ns, None)
        shown.append(
            StateTask(
                id=task.task_id if task else "",
                name=spec.node,
                path=tuple(spec.path.split(":", 1)),
                error=parse_failure(task.error) if failed and task else None,
                interrupts=questions.get(task.task_id, ()) if task else (),
                state=state,
                result=_result(documents, thread_id, task),
            )
        )
    waiting = [it for it in planned if not (is_head and it.path in by_path and _is_done(by_path[it.path]))]
    parent = state_config(thread_id, record.ns, record.parent_id) if record.parent_id else None
    return StateSnapshot(
        values=values,
        next=next_names(waiting),
        config=state_config(thread_id, record.ns, record.checkpoint_id),
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
        interrupts=tuple(question for task in shown for question in task.interrupts),
    )


def values_now(
    documents: Documents, graph: GraphDefinition, record: Checkpointed, tasks: Sequence[Task]
) -> dict[str, Any]:
    """The state at a head as it stands: with what the finished tasks of the superstep after it wrote."""
    values = documents.checkpoint(record, tasks=False).snapshot.values
    after = [it for it in tasks if it.checkpoint_id == record.checkpoint_id and not it.replaced]
    return _with_finished(documents, graph, record.thread_id, values, after)


def _with_finished(
    documents: Documents,
    graph: GraphDefinition,
    thread_id: str,
    values: dict[str, Any],
    tasks: Iterable[Task],
) -> dict[str, Any]:
    done = [
        Output(path=it.path, node=it.node, output=it.output or "[]")
        for it in sorted(tasks, key=lambda it: it.path)
        if _is_done(it)
    ]
    written = [it for it in documents.outputs(thread_id, done) if not it.to_parent]
    return apply_writes(graph, values, written) if written else values


def state_config(thread_id: str, ns: str, checkpoint_id: str | None) -> dict[str, Any]:
    """The config of a state, as ``get_state`` and ``update_state`` take it."""
    configurable: dict[str, Any] = {"thread_id": thread_id, "checkpoint_ns": ns}
    if checkpoint_id is not None:
        configurable["checkpoint_id"] = checkpoint_id
    return {"configurable": configurable}


def _is_done(task: Task) -> bool:
    return task.status == "done" and task.kind == "node"


def _result(documents: Documents, thread_id: str, task: Task | None) -> dict[str, Any] | None:
    """A finished task's writes as a mapping (the last of several to one key)."""
    if task is None or not _is_done(task) or task.output is None:
        return None
    output = Output(path=task.path, node=task.node, output=task.output)
    return dict(documents.outputs(thread_id, [output])[0].writes)

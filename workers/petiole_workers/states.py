"""The states of a graph's threads on one store: looking at them and changing them by hand."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from petiole_stores.errors import InputError
from petiole_stores.records import Checkpointed, Resumption, Task
from petiole_workers.snapshot import StateSnapshot, empty_snapshot, snapshot_of, state_config

if TYPE_CHECKING:
    from petiole_workers.compiled import CompiledGraph
    from petiole_workers.documents import Documents
    from petiole_workers.graph import Command
    from petiole_workers.updating import StateUpdate


class States:
    """What one graph's threads on one store hold.

    queue: where the tasks of an updated run wait whose nodes name no queue.
    """

    def __init__(self, graph: CompiledGraph, documents: Documents, *, queue: str) -> None:
        self._graph, self._documents, self._queue = graph, documents, queue
        self._store = documents.store

    def get(self, config: Mapping[str, Any], *, subgraphs: bool = False) -> StateSnapshot:
        """The state that ``config`` names: of a thread, a namespace of it, a checkpoint; the newest where it names none.

        Raises InputError for a checkpoint that is not the thread's.
        """
        thread_id, ns, checkpoint_id = place_of(config)
        record = (
            self._store.get_checkpoint(checkpoint_id) if checkpoint_id else self._store.head(thread_id, ns)
        )
        if record is None or record.thread_id != thread_id:
            if checkpoint_id:
                raise InputError(f"checkpoint {checkpoint_id!r} is not one of thread {thread_id!r}")
            return empty_snapshot(thread_id, ns)

        def inner(ns: str) -> StateSnapshot:
            return self.get(state_config(thread_id, ns, None), subgraphs=True)

        return snapshot_of(
            self._documents,
            self._graph.definition.within(record.ns),
            record,
            self._tasks(record),
            is_head=checkpoint_id is None,
            inner=inner if subgraphs else None,
        )

    def history(
        self,
        config: Mapping[str, Any],
        *,
        filter: Mapping[str, Any] | None = None,
        before: Mapping[str, Any] | None = None,
        limit: int | None = None,
    ) -> Iterator[StateSnapshot]:
        """The states of a thread, or of a namespace of it, newest first; see ``CompiledGraph.get_state_history``."""
        thread_id, ns, _ = place_of(config)
        graph, bound, given = self._graph.definition.within(ns), None, 0
        if before is not None:
            start = self._store.get_checkpoint(str(before["configurable"]["checkpoint_id"]))
            bound = start.seq if start else None
        cached: dict[str | None, list[Task]] = {}
        for record in self._store.list_checkpoints(
            thread_id, ns=ns, before=bound, limit=None if filter else limit
        ):
            if limit is not None and given >= limit:
                return
            if record.run_id not in cached:
                cached[record.run_id] = self._tasks(record)
            snapshot = snapshot_of(self._documents, graph, record, cached[record.run_id], is_head=False)
            if filter and any((snapshot.metadata or {}).get(key) != value for key, value in filter.items()):
                continue
            given += 1
            yield snapshot

    def update(
        self, config: Mapping[str, Any], supersteps: Sequence[Sequence[StateUpdate]]
    ) -> dict[str, Any]:
        """Change a state by hand; gives the config of the new one. See `petiole_workers.updating`."""
        from petiole_workers.updating import Updating

        thread_id, ns, checkpoint_id = place_of(config)
        updating = Updating(self._graph, self._documents, queue=self._queue)
        updating.update(thread_id, supersteps, ns=ns, checkpoint_id=checkpoint_id)
        head = self._store.head(thread_id, ns)
        return state_config(thread_id, ns, head.checkpoint_id if head else None)

    def command(self, thread_id: str, command: Command[Any]) -> list[Resumption] | None:
        """Write a command's update into the newest state, and let the nodes that it goes to come next, too.

        Gives what lets an interrupted run go on.
        """
        from petiole_workers.updating import Updating

        return Updating(self._graph, self._documents, queue=self._queue).command(thread_id, command)

    def _tasks(self, record: Checkpointed) -> list[Task]:
        return self._store.list_tasks(record.run_id) if record.run_id else []


def place_of(config: Mapping[str, Any]) -> tuple[str, str, str | None]:
    """The thread, namespace and checkpoint that a config names. Raises InputError without a thread."""
    configurable = config.get("configurable") or {}
    thread_id = configurable.get("thread_id")
    if thread_id is None:
        raise InputError('the config names no thread: pass {"configurable": {"thread_id": "..."}}')
    return str(thread_id), configurable.get("checkpoint_ns") or "", configurable.get("checkpoint_id")

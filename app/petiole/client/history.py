"""A thread's past: its checkpoints, and the tasks that ran after each."""

from __future__ import annotations

import msgspec

from petiole_stores.checkpoint import Checkpoint
from petiole_stores.errors import NotFoundError
from petiole_stores.records import RunFilter, Task
from petiole_stores.store import Store
from petiole_workers.active import PAGE, runs_of


class HistoryEntry(msgspec.Struct, kw_only=True, frozen=True):
    """A checkpoint and the tasks of the superstep that began with it; ``None``: before the thread's first one."""

    checkpoint: Checkpoint | None
    tasks: list[Task]  #: in the order they were made, with their earlier attempts


def history_of(
    store: Store,
    thread_id: str,
    *,
    run_id: str | None = None,
    limit: int | None = None,
    subgraphs: bool = False,
) -> list[HistoryEntry]:
    """A thread's checkpoints, newest first, with the tasks of each; what ran before the first one comes last.

    ``run_id`` leaves other runs' checkpoints and tasks out; ``limit`` is the number of entries; ``subgraphs`` adds those of
    nodes that are graphs, at any depth.
    """
    checkpoints = store.list(thread_id, run_id=run_id, ns=None if subgraphs else "", limit=limit)
    tasks = _tasks_by_checkpoint(store, thread_id, run_id)
    entries = [HistoryEntry(checkpoint=found, tasks=tasks.pop(found.id, [])) for found in checkpoints]
    if None in tasks and (limit is None or len(entries) < limit):
        entries.append(HistoryEntry(checkpoint=None, tasks=tasks[None]))
    return entries


def history_page(
    store: Store, thread_id: str, *, before: str | None, limit: int, subgraphs: bool = False
) -> list[HistoryEntry]:
    """At most ``limit`` entries as of :func:`history_of`, of checkpoints older than the one named ``before``.

    Raises NotFoundError where that one is gone.
    """
    bound = None
    if before is not None:
        record = store.get_checkpoint(before)
        if record is None or record.thread_id != thread_id:
            raise NotFoundError(f"checkpoint {before!r} is not one of thread {thread_id!r}: begin anew")
        bound = record.seq
    ns = None if subgraphs else ""
    checkpoints = [
        store.from_record(record)
        for record in store.list_checkpoints(thread_id, ns=ns, before=bound, limit=limit)
    ]
    tasks = _tasks_by_checkpoint(store, thread_id, None)
    entries = [HistoryEntry(checkpoint=found, tasks=tasks.get(found.id, [])) for found in checkpoints]
    if len(entries) < limit and None in tasks:
        entries.append(HistoryEntry(checkpoint=None, tasks=tasks[None]))
    return entries


def _tasks_by_checkpoint(store: Store, thread_id: str, run_id: str | None) -> dict[str | None, list[Task]]:
    tasks: dict[str | None, list[Task]] = {}
    runs = runs_of(store, RunFilter(thread_id=thread_id, limit=PAGE))
    for run in sorted((run for run in runs if run_id in (None, run.run_id)), key=lambda run: run.seq):
        for task in store.list_tasks(run.run_id):
            tasks.setdefault(task.checkpoint_id, []).append(task)
    return tasks

"""A thread's past: its checkpoints, and the tasks that ran after each."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from petiole_stores.checkpoint import Checkpoint
from petiole_stores.records import Run, RunFilter, Task
from petiole_stores.store import Store

PAGE = 100


class HistoryEntry(msgspec.Struct, kw_only=True, frozen=True):
    """A checkpoint and the tasks of the superstep that began with it; ``None``: before the thread's first one."""

    checkpoint: Checkpoint | None
    tasks: list[Task]  #: in the order they were made, with their earlier attempts


def runs_of(store: Store, filter: RunFilter) -> Iterator[Run]:
    """Every run that matches, newest first, page by page."""
    while True:
        page = store.list_runs(filter)
        yield from page.runs
        if page.next is None:
            return
        filter = msgspec.structs.replace(filter, cursor=page.next)


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
    tasks: dict[str | None, list[Task]] = {}
    runs = runs_of(store, RunFilter(thread_id=thread_id, limit=PAGE))
    for run in sorted((run for run in runs if run_id in (None, run.run_id)), key=lambda run: run.seq):
        for task in store.list_tasks(run.run_id):
            tasks.setdefault(task.checkpoint_id, []).append(task)
    entries = [HistoryEntry(checkpoint=found, tasks=tasks.pop(found.id, [])) for found in checkpoints]
    if None in tasks and (limit is None or len(entries) < limit):
        entries.append(HistoryEntry(checkpoint=None, tasks=tasks[None]))
    return entries

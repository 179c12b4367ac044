"""Children of ``graph.invoke``: run in this process, within the node that waits for them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from petiole_stores.errors import ConfigurationError, PetioleError, RunInterruptedError, ThreadBusyError
from petiole_stores.records import RUNNABLE, SETTLED, Run, RunFilter
from petiole_stores.store import Store
from petiole_workers.children import HELD, awaited_run
from petiole_workers.graph.children import ChildCall
from petiole_workers.queues import INLINE_PREFIX
from petiole_workers.registry import compiled_here

if TYPE_CHECKING:
    from petiole_workers.compiled import CompiledGraph
    from petiole_workers.inline import InlineEngine

#: How often a child looks that waits for another run of its thread, in seconds.
LOOK = 0.05


class ChildrenHere:
    """Runs the children of one engine's nodes."""

    def __init__(self, engine: InlineEngine, loop: asyncio.AbstractEventLoop | None) -> None:
        self._engine, self._loop = engine, loop

    def queue(self) -> str:
        """Where the children's tasks wait."""
        return INLINE_PREFIX + self._engine.holder

    def graph(self, call: ChildCall) -> CompiledGraph:
        """The child's graph. Raises ConfigurationError where it is not known here."""
        found: CompiledGraph | None = call.compiled or compiled_here(call.graph)
        if found is None:
            raise ConfigurationError(
                f"graph {call.graph!r} was not compiled in this process: import its module, or give child() the graph itself"
            )
        return found

    @contextmanager
    def at(self, run_id: str) -> Iterator[None]:
        """See `InProcess.at`."""
        self._engine.expected.add(run_id)
        try:
            yield
        finally:
            self._engine.expected.discard(run_id)

    def drive(self, graph: CompiledGraph, run: Run) -> BaseException | None:
        """See `InProcess.drive`. Raises ThreadBusyError for a run behind another process's."""
        engine = self._engine.beside(graph)
        while run.status not in SETTLED and run.status not in HELD:
            if self._is_first(run):
                try:
                    error = engine.drive(run, self._loop)
                except RunInterruptedError:  # it waits for a child itself
                    return None
                if error is not None:
                    return error
            found = engine.store.get_run(run.run_id)
            if found is None:
                return None
            run = found
            if run.status in RUNNABLE:  # behind another run of its thread, or in its hands
                time.sleep(LOOK)
        return None

    def _is_first(self, run: Run) -> bool:
        """Whether the run is its thread's active one. Raises ThreadBusyError for one behind another process's."""
        store = self._engine.store
        runs = store.list_runs(RunFilter(thread_id=run.thread_id, limit=1000)).runs
        ahead = [it for it in runs if it.status not in SETTLED and it.seq < run.seq]
        for other in ahead:
            if other.run_id not in self._engine.expected:
                raise ThreadBusyError(
                    f"thread {run.thread_id!r} has the active run {other.run_id}, which is {other.status}: wait for it or cancel "
                    "it, then go on with invoke(None, config)"
                )
        return not ahead


def waiting_for_child(store: Store, run: Run) -> PetioleError | None:
    """The error for a run of ``graph.invoke`` that is left because a node waits for a child; ``None``: none does."""
    for task in store.list_tasks(run.run_id):
        child = awaited_run(task.awaits) if task.status == "parked" else None
        found = store.get_run(child) if child else None
        if found is not None:
            return RunInterruptedError(
                f"node {task.node!r} of run {run.run_id} waits for its child, run {found.run_id} of graph {found.graph!r} on thread "
                f"{found.thread_id!r}, which is {found.status}: let that go on, then this one by invoke(None, config)"
            )
    return None


def wake_waiting(store: Store, run: Run) -> None:
    """Have the nodes of a run look again for their children."""
    for task in store.list_tasks(run.run_id):
        if task.status == "parked" and awaited_run(task.awaits):
            store.wake(run.thread_id, task.awaits)

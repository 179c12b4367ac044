"""Watching the pool's processes: a dead child's slot is released within a second, without waiting for a lease."""

from __future__ import annotations

import logging
import multiprocessing.connection
import os
from typing import Any

from petiole_stores.errors import StoreError
from petiole_workers.celery.parent import die_with
from petiole_workers.celery.threads import Periodic
from petiole_workers.context import WorkerContext
from petiole_workers.crashpoints import reach

logger = logging.getLogger("petiole.worker")

#: How long one look at the sentinels lasts, in seconds; new children are seen after it.
LOOK = 0.25


class ChildWatch(Periodic):
    """Waits on the children's sentinels; when one fires, the claims of that child are released as crashed."""

    name = "petiole-children"

    def __init__(self, context: WorkerContext, pool: Any) -> None:
        super().__init__(0.0)
        self._context, self._pool = context, pool
        self._known: dict[int, int] = {}  # sentinel -> pid
        self._lost: set[int] = set()  # dead, not yet released
        self._told: set[int] = set()  # dead and released

    def tick(self) -> None:
        processes = {process.sentinel: process.pid for process in list(self._pool._pool._pool)}
        self._told &= set(processes.values())  # Celery takes up to some seconds to drop a dead child from its list
        alive = {sentinel: pid for sentinel, pid in processes.items() if pid not in self._told}
        self._lost |= {pid for sentinel, pid in self._known.items() if alive.get(sentinel) != pid}
        if not self._lost and alive:
            try:
                fired = multiprocessing.connection.wait(list(alive), LOOK)
            except (OSError, ValueError):  # a sentinel was closed under our eyes: the next look tells whose
                fired = []
            self._lost |= {alive.pop(sentinel) for sentinel in fired}
        self._known = alive
        for pid in sorted(self._lost):
            reach("release.before")
            try:
                refs = self._context.store.release(self._context.holder, slots=[str(pid)], crashed=True)
            except StoreError as error:
                logger.warning("pool process %d died, the store cannot be told yet: %s", pid, error)
                self._stopping.wait(1.0)
                return
            reach("release.after")
            self._lost.discard(pid)
            self._told.add(pid)
            if refs:
                logger.warning("pool process %d died: %d tasks are ready for others", pid, len(refs))
                self._context.publisher.publish(refs)
        if not alive:
            self._stopping.wait(LOOK)


class _DieWithParent:
    """Asks the kernel to end each pool process with its main process."""

    def __init__(self) -> None:
        self._main = 0

    def install(self) -> None:
        """Called in the main process, before it forks."""
        from celery.signals import worker_process_init

        self._main = os.getpid()
        worker_process_init.connect(self._ask, weak=False, dispatch_uid="petiole-die-with-parent")

    def _ask(self, **_: object) -> None:
        if os.getpid() != self._main:  # the solo pool is the main process itself
            die_with(self._main)


die_with_parent = _DieWithParent()

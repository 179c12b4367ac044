"""Watching the pool's processes: a dead child's slot is released within a second, without waiting for a lease."""

from __future__ import annotations

import logging
import multiprocessing.connection
import os
import signal
import sys
from typing import Any

from petiole_stores.errors import StoreError
from petiole_workers.celery.threads import Periodic
from petiole_workers.context import WorkerContext

logger = logging.getLogger("petiole.worker")

#: How long one look at the sentinels lasts, in seconds; new children are seen after it.
LOOK = 0.25
PR_SET_PDEATHSIG = 1


class ChildWatch(Periodic):
    """Waits on the children's sentinels; when one fires, the claims of that child are released as crashed."""

    name = "petiole-children"

    def __init__(self, context: WorkerContext, pool: Any) -> None:
        super().__init__(0.0)
        self._context, self._pool = context, pool
        self._known: dict[int, int] = {}  # sentinel -> pid
        self._lost: set[int] = set()  # dead, not yet released

    def tick(self) -> None:
        alive = {process.sentinel: process.pid for process in list(self._pool._pool._pool)}
        self._lost |= {pid for sentinel, pid in self._known.items() if alive.get(sentinel) != pid}
        if not alive:
            self._stopping.wait(LOOK)
        for sentinel in multiprocessing.connection.wait(list(alive), LOOK) if not self._lost else []:
            self._lost.add(alive.pop(sentinel))  # type: ignore[call-overload, arg-type]
        self._known = alive
        for pid in sorted(self._lost):
            try:
                refs = self._context.store.release(self._context.holder, slots=[str(pid)], crashed=True)
            except StoreError as error:
                logger.warning("pool process %d died, the store cannot be told yet: %s", pid, error)
                self._stopping.wait(1.0)
                return
            self._lost.discard(pid)
            if refs:
                logger.warning("pool process %d died: %d tasks are ready for others", pid, len(refs))
                self._context.publisher.publish(refs)
        if self._lost or len(alive) < 1:
            self._stopping.wait(LOOK)


class _DieWithParent:
    """Pool processes end with their main process (Linux): an orphan would only work for outputs that are refused."""

    def install(self) -> None:
        from celery.signals import worker_process_init

        worker_process_init.connect(self._ask, weak=False, dispatch_uid="petiole-die-with-parent")

    @staticmethod
    def _ask(**_: object) -> None:
        if sys.platform != "linux":
            return
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == 1:  # the parent died before it was asked
            os.kill(os.getpid(), signal.SIGKILL)


die_with_parent = _DieWithParent()

"""Watching the pool's processes: a dead child's slot is released within a second, without waiting for a lease; one whose
node should have ended is killed."""

from __future__ import annotations

import logging
import multiprocessing.connection
import os
import signal
from typing import Any

from petiole_stores.errors import StoreError
from petiole_workers.board import Sight
from petiole_workers.celery.overseer import REASONS, commit_timeout, overdue, say
from petiole_workers.celery.parent import die_with
from petiole_workers.celery.threads import Periodic
from petiole_workers.context import WorkerContext
from petiole_workers.processes import process_birth

logger = logging.getLogger("petiole.worker")

#: How long one look at the sentinels lasts, in seconds; new children are seen after it.
LOOK = 0.25
#: How long a pool process that ends waits for the main process to take note of its last job, in seconds.
LEAVE = 5.0


class ChildWatch(Periodic):
    """Waits on the children's sentinels; when one fires, the claims of that child are released as crashed.

    Children also say when they begin: one that dies at once is dropped from Celery's list before anybody looks there.
    A child that was killed because of its node is no crash: a timeout is committed in its place, its other claims are
    given back uncharged.
    """

    name = "petiole-children"

    def __init__(self, context: WorkerContext, pool: Any, births: Births) -> None:
        super().__init__(0.0)
        self._context, self._pool, self._births = context, pool, births
        self._known: dict[int, int] = {}  # sentinel -> pid
        self._born: set[int] = set()  # have said that they begin, not yet seen in Celery's list
        self._lost: set[int] = set()  # dead, not yet released
        self._told: set[int] = set()  # dead and released
        self._ended: dict[int, list[Sight]] = {}  # killed here, with the timeouts to commit

    def tick(self) -> None:
        processes = {process.sentinel: process.pid for process in list(self._pool._pool._pool)}
        self._told &= set(
            processes.values()
        )  # Celery takes up to some seconds to drop a dead child from its list
        alive = {sentinel: pid for sentinel, pid in processes.items() if pid not in self._told}
        self._lost |= {pid for sentinel, pid in self._known.items() if alive.get(sentinel) != pid}
        self._end_overdue(set(alive.values()) - self._lost)
        self._born = (self._born | self._births.read()) - set(processes.values()) - self._lost
        self._lost |= {pid for pid in self._born if process_birth(pid) is None}
        self._born -= self._lost
        if not self._lost:
            try:
                fired = set(multiprocessing.connection.wait([*alive, self._births.reader], LOOK))
            except (OSError, ValueError):  # a sentinel was closed under our eyes: the next look tells whose
                fired = set()
            self._lost |= {alive.pop(sentinel) for sentinel in fired & alive.keys()}
        self._known = alive
        for pid in sorted(self._lost):
            try:
                for sight in self._ended.get(pid, []):
                    commit_timeout(self._context, sight)
                refs = self._context.release(slots=[str(pid)], crashed=pid not in self._ended)
            except StoreError as error:
                logger.warning("pool process %d died, the store cannot be told yet: %s", pid, error)
                self._stopping.wait(1.0)
                return
            self._lost.discard(pid)
            self._told.add(pid)
            self._ended.pop(pid, None)
            if refs:
                logger.warning("pool process %d died: %d tasks are ready for others", pid, len(refs))

    def _end_overdue(self, living: set[int]) -> None:
        """Kill the processes whose node should have ended."""
        board = self._context.board
        if board is None:
            return
        for sight, why in overdue(board, self._context.settings.cancel_grace):
            if sight.pid in living and sight.pid not in self._ended and board.stands(sight):
                say(sight, f"{REASONS[why]}: its process {sight.pid} is killed")
                self._ended[sight.pid] = [sight] if why == "timeout" else []
                try:
                    os.kill(sight.pid, signal.SIGKILL)
                except ProcessLookupError:  # it died by itself: its sentinel tells
                    pass


class Births:
    """Pool processes say through a pipe that they begin, before they claim anything."""

    SIZE = 8

    def __init__(self) -> None:
        self.reader, self._writer = os.pipe()
        os.set_blocking(self.reader, False)
        os.set_blocking(self._writer, False)

    def say(self) -> None:
        """Called in the child."""
        try:
            os.write(self._writer, os.getpid().to_bytes(self.SIZE, "big"))
        except OSError:  # nobody has read for thousands of births: Celery's list must do
            pass

    def read(self) -> set[int]:
        """The pids of those that have begun since the last look."""
        try:
            data = os.read(self.reader, 4096)
        except BlockingIOError:
            return set()
        return {int.from_bytes(data[i : i + self.SIZE], "big") for i in range(0, len(data), self.SIZE)}


class _Children:
    """What each pool process does first: ask the kernel to end it with its main process, and say that it begins."""

    def __init__(self) -> None:
        self._main = 0
        self._births: Births | None = None

    def install(self) -> Births:
        """Called in the main process, before it forks."""
        from celery.signals import worker_process_init

        self._main, self._births = os.getpid(), Births()
        worker_process_init.connect(self._begin, weak=False, dispatch_uid="petiole-children")
        return self._births

    def _begin(self, **_: object) -> None:
        if os.getpid() != self._main and self._births is not None:  # the solo pool is the main process itself
            die_with(self._main)
            _leave_soon()
            self._births.say()


def _leave_soon() -> None:
    """Have this pool process wait at its end for some seconds, not for 30, until the main process knows what it has done.

    A main process that stops may drop a job that it has just handed out; it never reads that one's result, and its warm stop
    would wait for the child that waits for it.
    """
    from billiard import pool

    pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_LIMIT = int(
        LEAVE / pool.GUARANTEE_MESSAGE_CONSUMPTION_RETRY_INTERVAL
    )


children = _Children()

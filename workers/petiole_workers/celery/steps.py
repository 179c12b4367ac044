"""The bootstep of a worker's main process: register the holder, beat, sweep, watch the children, stop cleanly."""

from __future__ import annotations

import logging
import os
import signal
import time
from typing import Any

from celery import bootsteps

from petiole_stores.errors import PetioleError
from petiole_stores.ids import new_id
from petiole_workers.board import Board
from petiole_workers.celery.children import ChildWatch, children
from petiole_workers.celery.degraded import Consumption, SpoolSender
from petiole_workers.celery.heartbeat import Heartbeat
from petiole_workers.celery.janitor import Janitor
from petiole_workers.celery.overseer import SlotWatch
from petiole_workers.celery.sweeper import Sweeper
from petiole_workers.launch import HOLDER_VARIABLE

logger = logging.getLogger("petiole.worker")


class WorkerStep(bootsteps.StartStopStep):  # type: ignore[misc]
    """Runs between the pool and the consumer: the pool has forked before any connection is opened here, and the holder
    is registered before the first message arrives."""

    requires = {"celery.worker.components:Pool"}

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        self.context = worker.app.petiole
        self.context.holder = os.environ.pop(HOLDER_VARIABLE, "") or new_id()
        self.context.pool = _pool_name(worker)
        self.context.queues = _queues(worker.app)
        self._births = children.install()
        self.context.board = Board(_seats(worker, self.context.pool), forked=self.context.pool == "prefork")
        self.heartbeat: Heartbeat | None = None
        self.sweeper: Sweeper | None = None
        self.janitor: Janitor | None = None
        self.spool: SpoolSender | None = None
        self.children: ChildWatch | None = None
        self.slots: SlotWatch | None = None

    def start(self, worker: Any) -> None:
        context = self.context
        described = context.description(worker.hostname, worker.concurrency or 1)
        context.store.migrate_schema()  # an empty store is set up by whoever comes to it first
        context.store.beat(described)
        if context.pool == "prefork":
            self.children = ChildWatch(context, worker.pool, self._births)
            self.children.start()
        else:
            self.slots = SlotWatch(context, context.board)
            self.slots.start()
        self.heartbeat = Heartbeat(context, described, Consumption(worker), self._lost_slots)
        self.spool = SpoolSender(context)
        self.sweeper = Sweeper(context)
        self.janitor = Janitor(context)
        self.heartbeat.start()
        self.sweeper.start()
        self.janitor.start()
        self.spool.start()
        logger.info(
            "petiole worker %s serves %s on %s (lease %g s)",
            context.holder, ", ".join(g.name for g in context.registry) or "no graph",
            ", ".join(sorted(context.queues)), context.settings.lease,
        )  # fmt: skip
        for line in context.store.durability():
            logger.warning("store %s: %s", context.store.url.shown, line)

    def stop(self, worker: Any) -> None:
        """Warm: running nodes get ``grace`` seconds; what is left is given back at once."""
        if self.heartbeat is None:
            return
        self._halt()
        try:
            self._drain(worker)
        except PetioleError as error:
            logger.warning(
                "the store could not be told of this stop (%s): the lease will run out instead", error
            )

    def terminate(self, worker: Any) -> None:
        """Cold: everything is given back at once."""
        if self.heartbeat is None:
            return
        self._halt()
        try:
            self._give_back()
        except PetioleError as error:
            logger.warning(
                "the store could not be told of this stop (%s): the lease will run out instead", error
            )

    def _lost_slots(self) -> int:
        return 0 if self.slots is None else self.slots.lost

    def _halt(self) -> None:
        for thread in (self.janitor, self.spool, self.sweeper, self.children, self.slots, self.heartbeat):
            if thread is not None:
                thread.stop()

    def _drain(self, worker: Any) -> None:
        context = self.context
        described = context.description(worker.hostname, worker.concurrency or 1, status="stopping")
        described.stats = dict(context.board.counts())
        until = time.monotonic() + context.settings.grace
        pause = 0.02
        while (claims := context.store.beat(described).claims) and time.monotonic() < until:
            time.sleep(pause)
            pause = min(pause * 1.5, 0.5)
        if claims:
            logger.warning(
                "%d nodes still ran after %g s: their tasks go to other workers",
                len(claims),
                context.settings.grace,
            )
            self._give_back()
            if context.pool == "prefork":
                _end_children(worker.pool)
        else:
            self._give_back()

    def _give_back(self) -> None:
        self.context.release(final=True)


def _end_children(pool: Any) -> None:
    """End the pool whose work is given back.

    Its processes are killed first: asked to end, one that has finished a job waits up to 30 s for this process, which has
    stopped to read results, to take note of it.
    """
    for process in list(pool._pool._pool):
        try:
            os.kill(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    pool.terminate()


def _seats(worker: Any, pool: str) -> int:
    """How many slots there may be at once: of pool processes twice as many, for old ones may outlive their successors."""
    slots = max(worker.concurrency or 1, getattr(worker, "max_concurrency", None) or 1)
    return slots * 2 + 8 if pool == "prefork" else slots


def _pool_name(worker: Any) -> str:
    module: str = worker.pool_cls.__module__.rpartition(".")[2]
    return {"thread": "threads", "asynpool": "prefork"}.get(module, module)


def _queues(app: Any) -> frozenset[str]:
    """The queues (without their lanes) that this worker consumes."""
    from petiole_workers.queues import PRIORITIES

    names = set()
    for name in app.amqp.queues.consume_from:
        base, _, last = name.rpartition(".")
        names.add(base if base and last in PRIORITIES else name)
    return frozenset(names)

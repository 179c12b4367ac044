"""The sweep: dead holders, due timers and schedules, and hints that the broker lost. Every worker runs one; any number is safe."""

from __future__ import annotations

import logging
import random
import time

from petiole_stores.crashpoints import reach
from petiole_stores.errors import StoreError
from petiole_stores.records import QueueBacklog
from petiole_workers.celery.threads import Periodic
from petiole_workers.children import wake_parents
from petiole_workers.context import WorkerContext
from petiole_workers.misfits import unblock_served
from petiole_workers.queues import INLINE_PREFIX, lane
from petiole_workers.schedules.firing import Firer
from petiole_workers.signals import wake_unheard

logger = logging.getLogger("petiole.sweep")

#: Tasks published in one go.
BATCH = 1000
#: A queue that was seen empty: tasks published longer ago than this have lost their message, in seconds.
SETTLING = 1.0
#: How often blocked runs, and signals that nobody was woken for, are looked at; the first sweep of a worker does, so one that registers lets its runs go on.
UNBLOCK = 10.0


class Sweeper(Periodic):
    """Looks after the ledger every ``sweep`` seconds (with a little jitter, so that workers take turns)."""

    name = "petiole-sweep"

    def __init__(self, context: WorkerContext) -> None:
        super().__init__(context.settings.sweep * random.uniform(0.9, 1.1))
        self._context = context
        self._answering_since: float | None = None
        self._answered = float("-inf")
        self._looked = float("-inf")
        self._gap = max(3 * context.settings.sweep, context.settings.lease / 2)

    def tick(self) -> None:
        began = time.monotonic()
        if (
            began - self._answered > self._gap
        ):  # this process was stopped, or hung at its broker: it has watched nothing
            self._answering_since = None
        observed = 0.0 if self._answering_since is None else began - self._answering_since
        try:
            report = self._context.store.sweep(observed=observed)
        except StoreError as error:
            if self._answering_since is not None:
                logger.warning("the sweep is suspended: %s", error)
            self._answering_since = None
            return
        self._answering_since = began if self._answering_since is None else self._answering_since
        self._answered = time.monotonic()
        self._let_go(self._answered, report.now)
        for worker_id in report.died:
            logger.warning(
                "worker %s has not been heard of for its whole lease: its tasks go to others", worker_id
            )
        try:
            self._context.publisher.publish(wake_parents(self._context.store, report.expired))
            for backlog in report.backlogs:
                self._refill(backlog, report.now)
        except StoreError as error:
            logger.warning("the sweep is suspended: %s", error)
            self._answering_since = None
        self._fire(report.now)

    def _fire(self, now: float) -> None:
        """Submit the runs of schedules that are due."""
        context = self._context
        try:
            Firer(context.store, context.fleet, context.settings.queue, context.publisher.publish).fire_due(
                now
            )
        except StoreError as error:
            logger.warning("schedules wait for the store: %s", error)

    def _let_go(self, now: float, store_now: float) -> None:
        """Let runs go on that waited for a worker like one that is alive now, and tasks whose signal has come unheard."""
        if now - self._looked < UNBLOCK:
            return
        self._looked = now
        try:
            self._context.publisher.publish(unblock_served(self._context.store, self._context.fleet))
            self._context.publisher.publish(wake_unheard(self._context.store, store_now))
        except StoreError as error:
            logger.debug("blocked runs and signals cannot be looked at: %s", error)

    def _refill(self, backlog: QueueBacklog, now: float) -> None:
        """Publish what the broker's queue lacks: as many messages as there are ready tasks, less those in the queue."""
        if backlog.queue.startswith(INLINE_PREFIX):
            return
        store, publisher = self._context.store, self._context.publisher
        try:
            depth = publisher.depth(lane(backlog.queue, backlog.priority))
        except Exception as error:  # noqa: BLE001 - the clients of brokers raise anything; nothing can be refilled
            logger.debug("queue %s cannot be measured: %s", backlog.queue, error)
            return
        missing = backlog.ready - depth
        while missing > 0:
            refs = store.due(
                limit=min(missing, BATCH),
                queue=backlog.queue,
                priority=backlog.priority,
                published_before=now - SETTLING if depth == 0 else None,
            )
            if not refs:
                return
            sent = publisher.publish(refs)
            reach("refill.after")
            logger.info(
                "published %d tasks of queue %s again", len(sent), lane(backlog.queue, backlog.priority)
            )
            if len(sent) < len(refs):
                return
            missing -= len(refs)

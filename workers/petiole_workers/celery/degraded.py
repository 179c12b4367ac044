"""Degraded mode: while the store is gone a worker takes no messages, and when it answers the spool is sent."""

from __future__ import annotations

import logging
from typing import Any

from petiole_stores.errors import StoreError
from petiole_workers.celery.threads import Periodic
from petiole_workers.context import WorkerContext
from petiole_workers.spool import BackupSpool, left_in, send, send_left

logger = logging.getLogger("petiole.spool")


class Consumption:
    """Whether Celery's consumer takes messages; told from other threads, done in the consumer's own."""

    def __init__(self, worker: Any) -> None:
        self._worker = worker
        self.suspended = False
        self._cancelled: Any = None  # the consumer that takes none: a new connection brings a new one

    def suspend(self) -> None:
        """Take no more messages. What has been taken is only hints: it may go unheard."""
        present = getattr(getattr(self._worker, "consumer", None), "task_consumer", None)
        if present is self._cancelled or not self._tell("cancel"):
            return
        self._cancelled = present
        if not self.suspended:
            self.suspended = True
            logger.warning("the store is gone: no more messages are taken until it answers")

    def resume(self) -> None:
        if self.suspended and self._tell("consume"):
            self.suspended, self._cancelled = False, None
            logger.warning("the store answers again: messages are taken")

    def _tell(self, what: str) -> bool:
        consumer = getattr(self._worker, "consumer", None)
        if consumer is None or getattr(consumer, "task_consumer", None) is None:
            return False  # no connection to the broker now; a new one consumes by itself

        def act() -> None:
            task_consumer = consumer.task_consumer
            if task_consumer is not None:
                getattr(task_consumer, what)()

        consumer.call_soon(act)
        return True


class SpoolSender(Periodic):
    """Sends what this worker spooled, and what dead workers of this machine left, whenever the store answers."""

    name = "petiole-spool"

    def __init__(self, context: WorkerContext) -> None:
        super().__init__(context.settings.beat_every)
        self._context = context
        context.spools.hold(context.holder)

    def tick(self) -> None:
        context = self._context
        try:
            context.publisher.publish(context.send_spool())
            for holder in context.spools.holders():
                if holder != context.holder:
                    context.publisher.publish(send_left(context.spools, holder, context.store))
            self._send_backup()
        except StoreError as error:
            logger.debug("the spool waits for the store: %s", error)

    def stop(self, timeout: float = 5.0) -> None:
        super().stop(timeout)
        self._context.spools.let_go(self._context.holder)

    def _send_backup(self) -> None:
        """Entries of the backup store that workers left which are not alive."""
        context = self._context
        backup = context.backup
        if backup is None:
            return
        alive = {it.worker_id for it in context.store.list_workers() if it.status in ("alive", "stopping")}
        for holder in left_in(backup):
            if holder not in alive and holder != context.holder:
                report, publish = send(BackupSpool(backup, holder), context.store)
                context.spools.keep_report(holder, report)
                context.publisher.publish(publish)

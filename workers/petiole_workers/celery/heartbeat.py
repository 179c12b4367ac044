"""The heartbeat: one row a worker, renewed by a native thread of the main process."""

from __future__ import annotations

import logging

from celery.worker import state

from petiole_stores.errors import StoreError
from petiole_stores.records import Worker
from petiole_workers.celery.degraded import Consumption
from petiole_workers.celery.threads import Periodic
from petiole_workers.context import WorkerContext

logger = logging.getLogger("petiole.heartbeat")


class Heartbeat(Periodic):
    """Renews the holder's lease every ``beat`` seconds; while the store is away it keeps trying."""

    name = "petiole-heartbeat"

    def __init__(
        self, context: WorkerContext, described: Worker, consumption: Consumption | None = None
    ) -> None:
        super().__init__(context.settings.beat_every)
        self._context, self._worker = context, described
        self._consumption = consumption
        self._failing = False
        self._idle_claims: set[str] = set()

    def tick(self) -> None:
        try:
            answer = self._context.store.beat(self._worker)
        except StoreError as error:
            if self._consumption is not None:
                self._consumption.suspend()
            if not self._failing:
                logger.warning("the lease could not be renewed (%s); trying every %g s", error, self.interval)
            self._failing = True
            return
        if self._failing or answer.revived:
            logger.warning(
                "the lease is renewed again%s",
                "; it had run out: tasks that others have claimed meanwhile are fenced"
                if answer.revived
                else "",
            )
        self._failing = False
        if self._consumption is not None:
            self._consumption.resume()
        self._look_for_orphans(set(answer.claims))

    def _look_for_orphans(self, claims: set[str]) -> None:
        """Give back claims that nobody here works on: their answer was lost, and their slot has claimed nothing since.

        That is so when this worker had no Celery task, running or waiting, at two beats in a row that saw the claim.
        """
        idle = not state.active_requests and not state.reserved_requests
        orphans = claims & self._idle_claims if idle else set()
        self._idle_claims = claims if idle else set()
        if orphans:
            logger.warning("%d claims have nobody who works on them: they are given back", len(orphans))
            self._context.publisher.publish(self._context.store.release(self._context.holder))

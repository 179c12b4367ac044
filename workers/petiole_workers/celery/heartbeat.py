"""The heartbeat: one row a worker, renewed by a native thread of the main process."""

from __future__ import annotations

import logging

from petiole_stores.errors import StoreError
from petiole_stores.records import Worker
from petiole_workers.celery.threads import Periodic
from petiole_workers.context import WorkerContext
from petiole_workers.crashpoints import reach

logger = logging.getLogger("petiole.heartbeat")


class Heartbeat(Periodic):
    """Renews the holder's lease every ``beat`` seconds; while the store is away it keeps trying."""

    name = "petiole-heartbeat"

    def __init__(self, context: WorkerContext, described: Worker) -> None:
        super().__init__(context.settings.beat_every)
        self._context, self._worker = context, described
        self._failing = False

    def tick(self) -> None:
        reach("beat.before")
        try:
            answer = self._context.store.beat(self._worker)
        except StoreError as error:
            if not self._failing:
                logger.warning("the lease could not be renewed (%s); trying every %g s", error, self.interval)
            self._failing = True
            return
        reach("beat.after")
        if self._failing or answer.revived:
            logger.warning(
                "the lease is renewed again%s",
                "; it had run out: tasks that others have claimed meanwhile are fenced" if answer.revived else "",
            )
        self._failing = False

"""The heartbeat: one row a worker, renewed by a native thread of the main process."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from celery.worker import state

from petiole_stores.errors import StoreError
from petiole_stores.records import SETTLED, Worker
from petiole_workers.board import Sight
from petiole_workers.celery.degraded import Consumption
from petiole_workers.celery.overseer import unwanted
from petiole_workers.celery.threads import Periodic
from petiole_workers.context import WorkerContext

logger = logging.getLogger("petiole.heartbeat")


class Heartbeat(Periodic):
    """Renews the holder's lease every ``beat`` seconds; while the store is away it keeps trying."""

    name = "petiole-heartbeat"

    def __init__(
        self,
        context: WorkerContext,
        described: Worker,
        consumption: Consumption | None = None,
        lost_slots: Callable[[], int] = lambda: 0,
    ) -> None:
        super().__init__(context.settings.beat_every)
        self._context, self._worker, self._lost_slots = context, described, lost_slots
        self._consumption = consumption
        self._failing = False
        self._idle_claims: set[str] = set()

    def tick(self) -> None:
        sights = self._look()
        try:
            answer = self._context.store.beat(self._worker)
        except StoreError as error:
            if self._consumption is not None:
                self._consumption.suspend()
            if self._context.board is not None:
                self._context.board.degraded = True
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
        if self._context.board is not None:
            self._context.board.degraded = False
        if self._consumption is not None:
            self._consumption.resume()
        self._fence(sights, set(answer.claims))
        self._look_for_orphans(set(answer.claims))

    def _look(self) -> list[Sight]:
        """The slots that work now; what they have done goes into the beat."""
        board = self._context.board
        if board is None:
            return []
        sights = board.look()
        self._worker.stats = {**board.counts(), "busy": len(sights), "lost_slots": self._lost_slots()}
        return sights

    def _fence(self, sights: Sequence[Sight], claims: set[str]) -> None:
        """Tell the slots whose claim has ended: others have it, or their run is over.

        Where a run's durability keeps the ledger from knowing what is run, its status tells.
        """
        board = self._context.board
        if board is None:
            return
        ended = unwanted(sights, claims)
        ended += [it for it in sights if not it.posted.claimed and not it.cancelled_at and self._is_over(it)]
        for sight in ended:
            if board.stands(sight):
                board.cancel(sight)
                ref = sight.posted.ref
                logger.warning(
                    "node %s of thread %s (run %s) is no longer wanted here: its claim has ended",
                    ref.node, ref.thread_id, ref.run_id,
                )  # fmt: skip

    def _is_over(self, sight: Sight) -> bool:
        store, ref = self._context.store, sight.posted.ref
        store.hint(ref.thread_id, [ref.run_id])
        try:
            run = store.get_run(ref.run_id)
        except StoreError:
            return False
        return run is None or run.status in SETTLED

    def _look_for_orphans(self, claims: set[str]) -> None:
        """Give back claims that nobody here works on: their answer was lost, and their slot has claimed nothing since.

        That is so when this worker had no Celery task, running or waiting, at two beats in a row that saw the claim.
        """
        idle = not state.active_requests and not state.reserved_requests
        orphans = claims & self._idle_claims if idle else set()
        self._idle_claims = claims if idle else set()
        if orphans:
            logger.warning("%d claims have nobody who works on them: they are given back", len(orphans))
            self._context.release()

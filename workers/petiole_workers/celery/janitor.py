"""The janitor: keeps threads from growing without end, off the hot path. Every worker has one; they share the work."""

from __future__ import annotations

import logging
import random
import zlib

from petiole_stores.errors import StoreError
from petiole_stores.records import Worker
from petiole_stores.store import Store
from petiole_workers.celery.threads import Periodic
from petiole_workers.context import WorkerContext
from petiole_workers.deletion import delete_thread
from petiole_workers.hop import read_config
from petiole_workers.settings import Settings

logger = logging.getLogger("petiole.janitor")

#: Threads asked for in one go, and looked at in one turn.
BATCH, MOST = 200, 2000


class Janitor(Periodic):
    """Every ``housekeeping`` seconds trims threads that got checkpoints, deletes those that are past their time, and
    removes items whose time is over and what nodes said long ago."""

    name = "petiole-janitor"

    def __init__(self, context: WorkerContext) -> None:
        super().__init__(context.settings.housekeeping * random.uniform(0.9, 1.1))
        self._context = context
        self._cursor: str | None = None

    def tick(self) -> None:
        store = self._context.store
        try:
            if self._cursor is None:
                self._cursor = store.latest()
                self._stopping.wait(self.interval)
                return
            if self._context.settings.max_checkpoints:
                self._trim(store, self._context.settings.max_checkpoints)
            delete_expired(store, self._context.settings, most=MOST)
            store.purge_events(self._context.settings.keep_events, limit=MOST)
            if purged := store.purge_items(MOST):
                logger.debug("%d items whose time was over are removed", purged)
        except StoreError as error:
            logger.debug("housekeeping waits for the store: %s", error)

    def _trim(self, store: Store, most: int) -> None:
        share = Share(self._context.holder, store.list_workers())
        looked = 0
        while looked < MOST and not self._stopping.is_set():
            threads, self._cursor = store.recent(self._cursor or "", limit=BATCH)
            for thread_id in threads:
                # A backend that keeps the place itself has told nobody else of this thread.
                if (not self._cursor or share.has(thread_id)) and is_workers(store, thread_id):
                    removed = store.trim(thread_id, most)
                    if removed.checkpoints:
                        logger.debug(
                            "thread %r: %d old checkpoints are removed", thread_id, removed.checkpoints
                        )
            looked += len(threads)
            if len(threads) < BATCH:
                return


class Share:
    """Which threads are one worker's to look after, among those that are alive."""

    def __init__(self, holder: str, workers: list[Worker]) -> None:
        alive = sorted({worker.worker_id for worker in workers if worker.status == "alive"} | {holder})
        self._rank, self._of = alive.index(holder), len(alive)

    def has(self, thread_id: str) -> bool:
        return zlib.crc32(thread_id.encode()) % self._of == self._rank


def is_workers(store: Store, thread_id: str) -> bool:
    """Whether workers run the thread: what ``graph.invoke`` or other programs keep there is kept whole."""
    run = store.newest_run(thread_id)
    return run is not None and not read_config(run.config).inline


def delete_expired(store: Store, settings: Settings, *, most: int) -> int:
    """Delete threads whose newest run has ended longer ago than the settings keep it; gives how many."""
    ages = {
        status: age
        for status, age in (
            ("succeeded", settings.keep_succeeded),
            ("failed", settings.keep_failed),
            ("cancelled", settings.keep_cancelled),
        )
        if age is not None
    }
    deleted = 0
    while ages and deleted < most:
        threads = store.expired(ages, limit=BATCH)
        gone = sum(delete_thread(store, thread_id) for thread_id in threads)
        deleted += gone
        if gone < BATCH:
            break
    if deleted:
        logger.info("%d threads were past their time and are deleted", deleted)
    return deleted

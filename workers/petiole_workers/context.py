"""What the tasks of one Celery app share: settings, graphs, the holder, and each process's own store."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property

from petiole_stores.contract import CheckpointStore
from petiole_stores.opening import open_checkpoint_store, open_store
from petiole_stores.records import Offer, TaskRef, Worker
from petiole_stores.store import Store
from petiole_workers.board import Board
from petiole_workers.documents import Documents
from petiole_workers.fitting import Fleet, Wanted, misfit
from petiole_workers.greenlets import native_thread
from petiole_workers.hop import Hint
from petiole_workers.logs import let_through, severity_of
from petiole_workers.misfits import note_misfits
from petiole_workers.patience import Patience
from petiole_workers.publishing import Publisher
from petiole_workers.registry import Registry
from petiole_workers.runner import Runner
from petiole_workers.settings import Settings
from petiole_workers.spool import BackupSpool, Spool, SpoolFolder, send

logger = logging.getLogger("petiole.worker")


class WorkerContext:
    """One worker incarnation. Made in the main process before it forks; children make what must be theirs."""

    def __init__(self, settings: Settings, registry: Registry, publisher: Publisher) -> None:
        self.settings, self.registry, self.publisher = settings, registry, publisher
        self.holder = ""
        self.pool = "prefork"
        self.queues: frozenset[str] = frozenset()
        self.board: Board | None = None
        self._store: Store | None = None
        self._documents: Documents | None = None
        self._pid = 0
        self._native = native_thread()
        self._others: dict[int, Store] = {}
        self._lock, self._lock_pid = threading.Lock(), os.getpid()
        self._fleet: tuple[Store, Fleet] | None = None
        self._backup: tuple[int, CheckpointStore] | None = None
        self._idle: list[Runner] = []
        self._slots = 0

    @property
    def store(self) -> Store:
        """This process's store, opened at its first use in it (a connection must not cross a fork).

        Under gevent the heartbeat and the sweep, in native threads, have one each.
        """
        here = native_thread()
        if here != self._native:
            if here not in self._others:
                self._others[here] = self._new_store()
            return self._others[here]
        if self._pid != os.getpid() or self._store is None:
            if self._lock_pid != os.getpid():  # the parent's may have been held when this process was forked
                self._lock, self._lock_pid = threading.Lock(), os.getpid()
            with self._lock:
                if self._pid != os.getpid() or self._store is None:
                    self._open()
        assert self._store is not None
        return self._store

    def _new_store(self) -> Store:
        store = open_store(self.settings.store or "", migrate=False)
        store.grace = self.settings.publish_grace
        store.max_crashes = self.settings.max_crashes
        for graph in self.registry:
            graph.register_types(store.serde)
        return store

    def _open(self) -> None:
        store = self._new_store()
        self._documents = Documents(store, Patience.of(self.settings, store))
        self._idle, self._slots = [], 0
        self._store, self._pid = store, os.getpid()

    @contextmanager
    def runner(self) -> Iterator[Runner]:
        """A free slot's runner. There are as many slots as runners were ever busy at once: one in a pool process, up to
        the concurrency under threads and gevent."""
        store = self.store
        try:
            runner = self._idle.pop()
        except IndexError:
            if (severity := severity_of(self.settings.node_logs)) is not None:
                let_through(severity)
            runner = Runner(
                store=store,
                registry=self.registry,
                settings=self.settings,
                holder=self.holder,
                slot=self._new_slot(),
                publish=self.publisher.publish,
                documents=self._documents,
                serves=self.queues.__contains__,
                spool=self.spool,
                seat=None if self.board is None else self.board.take(),
            )
        try:
            yield runner
        finally:
            self._idle.append(runner)

    def _new_slot(self) -> str:
        """A slot's name: the process (a dead one's slots are released by it), and a number where it has several."""
        with self._lock:
            self._slots += 1
            return str(os.getpid()) if self.pool in ("prefork", "solo") else f"{os.getpid()}.{self._slots}"

    def run(self, hints: Sequence[Hint]) -> int:
        """Run what a message names; tasks of graphs that are not served here are left for other workers."""
        why = [misfit(self.offers, Wanted(hint.graph, hint.version, hint.node)) for hint in hints]
        mine = [hint for hint, reason in zip(hints, why, strict=True) if reason is None]
        if len(mine) < len(hints):
            others = [(hint, reason) for hint, reason in zip(hints, why, strict=True) if reason is not None]
            note_misfits(self.store, others, self.fleet)
        if not mine:
            return 0
        with self.runner() as runner:
            return runner.run(mine)

    @cached_property
    def offers(self) -> dict[str, Offer]:
        """What this worker serves, by graph."""
        return {graph.name: graph.offer for graph in self.registry}

    @cached_property
    def spools(self) -> SpoolFolder:
        """The spools of this machine's workers."""
        return SpoolFolder(self.settings.data_dir)

    @property
    def backup(self) -> CheckpointStore | None:
        """The backup store, if one is set; opened anew in each process."""
        url = self.settings.backup_store
        if url is None:
            return None
        if self._backup is None or self._backup[0] != os.getpid():
            self._backup = os.getpid(), open_checkpoint_store(url)
        return self._backup[1]

    @property
    def spool(self) -> Spool:
        """Where outcomes go that the store cannot take."""
        backup = self.backup
        return self.spools.of(self.holder) if backup is None else BackupSpool(backup, self.holder)

    def send_spool(self) -> list[TaskRef]:
        """Send what this worker spooled; gives what is to be published. Raises StoreError where the store is away still."""
        report, publish = send(self.spools.of(self.holder), self.store)
        backup = self.backup
        if backup is not None:
            more, refs = send(BackupSpool(backup, self.holder), self.store)
            report, publish = report + more, publish + refs
        self.spools.keep_report(self.holder, report)
        return publish

    def release(
        self, *, slots: Sequence[str] | None = None, crashed: bool = False, final: bool = False
    ) -> list[TaskRef]:
        """Give up claims as :meth:`Ledger.release`, and publish their tasks.

        What was spooled under them goes first: a release voids its tokens.
        """
        try:
            self.publisher.publish(self.send_spool())
        except (OSError, sqlite3.Error) as error:
            logger.error("the spool cannot be read, what is in it will be refused: %s", error)
        refs = self.store.release(self.holder, slots=slots, crashed=crashed, final=final)
        self.publisher.publish(refs)
        return refs

    @property
    def fleet(self) -> Fleet:
        """The living workers, as this process's store knows them."""
        store = self.store
        if self._fleet is None or self._fleet[0] is not store:
            self._fleet = store, Fleet(store)
        return self._fleet[1]

    def description(self, name: str, concurrency: int, *, status: str = "alive") -> Worker:
        """This incarnation as the ledger knows it."""
        import socket

        return Worker(
            worker_id=self.holder,
            name=name,
            host=socket.gethostname(),
            pid=os.getpid(),
            lease=self.settings.lease,
            status=status,  # type: ignore[arg-type]
            graphs={
                g.name: f"{g.definition.version or ''}/{g.definition.fingerprint}" for g in self.registry
            },
            offers=self.offers,
            queues=sorted(self.queues),
            pool=self.pool,
            concurrency=concurrency,
        )

"""What the tasks of one Celery app share: settings, graphs, the holder, and each process's own store."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from petiole_stores.opening import open_store
from petiole_stores.records import Worker
from petiole_stores.store import Store
from petiole_workers.documents import Documents
from petiole_workers.greenlets import native_thread
from petiole_workers.hop import Hint
from petiole_workers.patience import Patience
from petiole_workers.publishing import Publisher
from petiole_workers.registry import Registry
from petiole_workers.runner import Runner
from petiole_workers.settings import Settings


class WorkerContext:
    """One worker incarnation. Made in the main process before it forks; children make what must be theirs."""

    def __init__(self, settings: Settings, registry: Registry, publisher: Publisher) -> None:
        self.settings, self.registry, self.publisher = settings, registry, publisher
        self.holder = ""
        self.pool = "prefork"
        self.queues: frozenset[str] = frozenset()
        self._store: Store | None = None
        self._documents: Documents | None = None
        self._pid = 0
        self._native = native_thread()
        self._others: dict[int, Store] = {}
        self._lock, self._lock_pid = threading.Lock(), os.getpid()
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
            runner = Runner(
                store=store,
                registry=self.registry,
                settings=self.settings,
                holder=self.holder,
                slot=self._new_slot(),
                publish=self.publisher.publish,
                documents=self._documents,
                serves=self.queues.__contains__,
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
        mine = [hint for hint in hints if self.registry.get(hint.graph) is not None]
        if len(mine) < len(hints):
            self._misfits([hint for hint in hints if self.registry.get(hint.graph) is None])
        if not mine:
            return 0
        with self.runner() as runner:
            return runner.run(mine)

    def _misfits(self, hints: Sequence[Hint]) -> None:
        from petiole_workers.misfits import note_misfits

        note_misfits(self.store, hints)

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
            queues=sorted(self.queues),
            pool=self.pool,
            concurrency=concurrency,
        )

"""What the tasks of one Celery app share: settings, graphs, the holder, and each process's own store."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence

from petiole_stores.opening import open_store
from petiole_stores.records import Worker
from petiole_stores.store import Store
from petiole_workers.documents import Documents
from petiole_workers.publishing import Publisher
from petiole_workers.registry import Registry
from petiole_workers.runner import Hint, Runner
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
        self._local = threading.local()

    @property
    def store(self) -> Store:
        """This process's store, opened at its first use in it (a connection must not cross a fork)."""
        if self._pid != os.getpid() or self._store is None:
            store = open_store(self.settings.store or "", migrate=False)
            store.grace = self.settings.publish_grace
            store.max_crashes = self.settings.max_crashes
            for graph in self.registry:
                graph.register_types(store.serde)
            self._documents = Documents(store)
            self._store, self._pid = store, os.getpid()
            self._local = threading.local()
        return self._store

    def runner(self) -> Runner:
        """The runner of the calling slot: a child's only one, else one a thread or greenlet."""
        store = self.store
        runner: Runner | None = getattr(self._local, "runner", None)
        if runner is None:
            runner = self._local.runner = Runner(
                store=store,
                registry=self.registry,
                settings=self.settings,
                holder=self.holder,
                slot=self.slot(),
                publish=self.publisher.publish,
                documents=self._documents,
                serves=self.queues.__contains__,
            )
        return runner

    def slot(self) -> str:
        """The name of the calling slot: the process, and the thread or greenlet where a process has several."""
        if self.pool in ("prefork", "solo"):
            return str(os.getpid())
        return f"{os.getpid()}.{threading.get_ident()}"

    def run(self, hints: Sequence[Hint]) -> int:
        """Run what a message names; tasks of graphs that are not served here are left for other workers."""
        mine = [hint for hint in hints if self.registry.get(hint.graph) is not None]
        if len(mine) < len(hints):
            self._misfits([hint for hint in hints if hint not in mine])
        return self.runner().run(mine) if mine else 0

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
            graphs={g.name: f"{g.definition.version or ''}/{g.definition.fingerprint}" for g in self.registry},
            queues=sorted(self.queues),
            pool=self.pool,
            concurrency=concurrency,
        )

"""This process as a holder of a store's tasks, while it invokes graphs."""

from __future__ import annotations

import atexit
import os
import socket
import threading
import time

from petiole_stores.errors import StoreError
from petiole_stores.ids import new_id
from petiole_stores.records import Worker
from petiole_stores.store import Store
from petiole_workers.processes import process_birth

LEASE = 15.0
#: In a holder's stats: when its process was started, so that a pid that is used again is not taken for it.
BIRTH = "process_birth"


class Presence:
    """This process as a holder of one store: registered when first needed, beating while an invocation runs."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._running = 0
        self._pid = 0
        self._beaten = float("-inf")
        self._thread: threading.Thread | None = None
        self.holder = ""

    def __enter__(self) -> None:
        with self._lock:
            if self._pid != os.getpid():
                self.holder, self._pid, self._running, self._thread = new_id(), os.getpid(), 0, None
                self._beaten = float("-inf")
                if self._store.shared:
                    atexit.register(self._leave, self._pid)
            self._running += 1
            if time.monotonic() - self._beaten > LEASE / 3:
                self._beat()
            if self._store.shared and self._thread is None:
                self._thread = threading.Thread(
                    target=self._keep_beating, name="petiole-presence", daemon=True
                )
                self._thread.start()

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._running -= 1

    def _beat(self) -> None:
        lease = LEASE if self._store.shared else 10 * 365 * 86400.0
        name = f"invoke@{socket.gethostname()}"
        self._store.beat(
            Worker(
                worker_id=self.holder,
                name=name,
                host=socket.gethostname(),
                pid=os.getpid(),
                lease=lease,
                pool="inline",
                stats={BIRTH: process_birth(os.getpid()) or 0.0},
            )
        )
        self._beaten = time.monotonic()

    def _keep_beating(self) -> None:
        while True:
            time.sleep(LEASE / 3)
            with self._lock:  # so that no invocation begins between this look and this thread's end
                if not self._running:
                    self._thread = None
                    return
                try:
                    self._beat()
                except StoreError:
                    pass  # the invocation itself will say so; until then the next beat may succeed

    def _leave(self, pid: int) -> None:
        if pid == os.getpid():
            try:
                self._store.release(self.holder, final=True)
            except Exception:  # noqa: BLE001 - the process is ending; the lease runs out by itself
                pass

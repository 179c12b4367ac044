"""Native threads of a worker's main process: no node, however long or greedy, may starve them."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from petiole_workers.greenlets import is_patched, original

logger = logging.getLogger("petiole.worker")


class Periodic:
    """Calls :meth:`tick` every ``interval`` seconds in a native thread until it is stopped.

    Under gevent the thread comes from gevent's pool of native threads, for ``threading.Thread`` is a greenlet there.
    """

    name = "petiole"

    def __init__(self, interval: float) -> None:
        self.interval = interval
        self._stopping, self._stopped = _events()
        self._spawned: Any = None

    def tick(self) -> None:
        raise NotImplementedError

    def start(self) -> None:
        self._spawned = _spawn(self._run, self.name)

    def stop(self, timeout: float = 5.0) -> None:
        """Ask the thread to end and wait for it."""
        self._stopping.set()
        self._stopped.wait(timeout)

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                try:
                    self.tick()
                except Exception:  # a thread that ends here would be a worker that silently stops beating
                    logger.exception("%s: unexpected error; it goes on", self.name)
                self._stopping.wait(self.interval)
        finally:
            self._stopped.set()


def _events() -> tuple[Any, Any]:
    event: Callable[[], Any] = original("threading", "Event") or threading.Event
    return event(), event()


def _spawn(target: Callable[[], None], name: str) -> Any:
    if is_patched():
        from gevent import get_hub

        return get_hub().threadpool.spawn(target)
    thread = threading.Thread(target=target, name=name, daemon=True)
    thread.start()
    return thread

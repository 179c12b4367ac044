"""What workers of one test share: store, clock, messages; and the client that publishes to them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from petiole.client import Client
from petiole.testing.clock import Clock
from petiole.testing.messages import Messages
from petiole_stores.errors import InputError
from petiole_stores.memory import MemoryStore
from petiole_stores.opening import open_store
from petiole_stores.records import TaskRef
from petiole_stores.store import Store
from petiole_workers.settings import Settings

if TYPE_CHECKING:
    from petiole.testing.worker import LocalWorker


class LocalClient(Client):
    """A client on the site's store, whose messages go to the site's broker."""

    def __init__(self, site: Site, settings: Settings) -> None:
        super().__init__(site.store, settings=settings)
        self._site = site

    def publish(self, refs: Sequence[TaskRef]) -> None:
        self._site.messages.publish(refs)


class Site:
    """One store with a clock and a broker, and the workers on it."""

    def __init__(self, store: Store | str | None, clock: Callable[[], float] | None) -> None:
        self._owned = not isinstance(store, Store)
        if isinstance(store, Store):
            self.store = store
        else:
            self.store = MemoryStore() if store is None else open_store(store)
        self._clock = clock or self.store.clock or Clock()
        self.store.clock = self._clock
        self.messages = Messages()
        self.workers: list[LocalWorker] = []

    @property
    def clock(self) -> Clock:
        """The clock to be moved. Raises InputError where the store has another one."""
        if not isinstance(self._clock, Clock):
            raise InputError(
                "this store goes by a clock of its own, which cannot be moved: give LocalWorker a Clock()"
            )
        return self._clock

    def beat(self) -> None:
        """Renew the leases of the workers that live and are not stopped."""
        for worker in self.workers:
            worker.beat()

    def leave(self, worker: LocalWorker) -> None:
        """Forget a worker; with the last one the store is closed, if it was opened here."""
        self.workers.remove(worker)
        if not self.workers and self._owned:
            self.store.close()

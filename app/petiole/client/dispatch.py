"""Publishing from a client: after the commit, best effort. What is lost here is published by a worker's sweep."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from petiole_stores.records import TaskRef

if TYPE_CHECKING:
    from petiole.defaults import Backends
    from petiole_workers.publishing import Publisher

logger = logging.getLogger("petiole.client")


class Dispatch:
    """Publishes to the broker in force; Celery is imported with the first message."""

    def __init__(self, backends: Backends) -> None:
        self._backends = backends
        self._publisher: Publisher | None = None

    def publish(self, refs: Sequence[TaskRef]) -> list[str]:
        """Publish a message for each task and return the ids of those that went out. Never raises for a broker.

        An embedded broker that no worker has started is left alone: the first worker publishes what waits.
        """
        if not refs or not self._backends.is_broker_up():
            return []
        try:
            return self._connected().publish(refs)
        except Exception as error:  # whatever kombu or a URL of no transport raises: the commit stands all the same
            logger.warning(
                "%d tasks could not be published (%s: %s); a worker's sweep will publish them",
                len(refs), type(error).__name__, error,
            )  # fmt: skip
            return []

    def close(self) -> None:
        if self._publisher is not None:
            self._publisher.close()
        self._publisher = None

    def _connected(self) -> Publisher:
        if self._publisher is None:
            from petiole_workers.celery.app import make_app
            from petiole_workers.celery.app import context_of
            from petiole_workers.registry import Registry

            app = make_app(
                self._backends.settings, Registry(), transport_options=self._backends.transport_options
            )
            self._publisher = context_of(app).publisher
        return self._publisher

"""Publishing from a client: after the commit, best effort. What is lost here is published by a worker's sweep."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from petiole_stores.errors import BrokerError
from petiole_stores.records import Priority, TaskRef

if TYPE_CHECKING:
    from petiole.defaults import Ground
    from petiole_workers.publishing import Publisher

logger = logging.getLogger("petiole.client")


class Dispatch:
    """Publishes to the broker in force; Celery is imported with the first message."""

    def __init__(self, place: Ground) -> None:
        self._place = place
        self._publisher: Publisher | None = None

    def publish(self, refs: Sequence[TaskRef]) -> list[str]:
        """Publish a message for each task and return the ids of those that went out. Never raises for a broker.

        An embedded broker that no worker has started is left alone: the first worker publishes what waits.
        """
        if not refs or not self._place.is_broker_up():
            return []
        try:
            return self._connected().publish(refs)
        except Exception as error:  # noqa: BLE001 - whatever kombu raises, the commit stands
            logger.warning(
                "%d tasks could not be published (%s: %s); a worker's sweep will publish them",
                len(refs), type(error).__name__, error,
            )  # fmt: skip
            return []

    def depth(self, queue: str, priority: Priority) -> int:
        """How many messages wait in the broker for a queue and priority. Raises BrokerError."""
        from petiole_workers.queues import lane

        if not self._place.is_broker_up():
            raise BrokerError(
                f"the broker {self._place.broker_shown} is not running; the first worker starts it"
            )
        try:
            return self._connected().depth(lane(queue, priority))
        except Exception as error:  # noqa: BLE001 - the clients of brokers raise anything
            raise BrokerError(
                f"the broker {self._place.broker_shown} cannot be reached ({type(error).__name__}: {error})"
            ) from None

    def close(self) -> None:
        if self._publisher is not None:
            self._publisher.close()
        self._publisher = None

    def _connected(self) -> Publisher:
        if self._publisher is None:
            from petiole_workers.celery.app import context_of, make_app
            from petiole_workers.registry import Registry

            app = make_app(self._place.settings, Registry(), transport_options=self._place.transport_options)
            self._publisher = context_of(app).publisher
        return self._publisher

"""Queue names: each queue has three lanes, for quorum queues know no priorities and Redis' are emulated."""

from __future__ import annotations

from collections.abc import Iterable

from kombu import Exchange, Queue

from petiole_stores.records import Priority

PRIORITIES: tuple[Priority, ...] = ("high", "default", "low")
#: Tasks on queues that begin with this are run by ``graph.invoke`` itself and never published.
INLINE_PREFIX = "@"


def lane(queue: str, priority: Priority) -> str:
    """The broker's queue for a queue and priority: ``petiole.high``, ``petiole``, ``petiole.low``."""
    return queue if priority == "default" else f"{queue}.{priority}"


def kombu_queue(name: str, queue_type: str = "classic") -> Queue:
    """A durable queue that is reached through the default exchange by its own name."""
    arguments = {"x-queue-type": "quorum"} if queue_type == "quorum" else None
    return Queue(
        name, exchange=Exchange("", type="direct"), routing_key=name, durable=True, queue_arguments=arguments
    )


def kombu_queues(queues: Iterable[str], queue_type: str = "classic") -> list[Queue]:
    """All lanes of these queues, the fast one of each first."""
    return [kombu_queue(lane(queue, priority), queue_type) for queue in queues for priority in PRIORITIES]

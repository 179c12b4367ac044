"""Taking waiting messages together: while every pool process is busy, further hints gather and go out as one job.

A job of several hints lets a child claim and commit short nodes together (see :class:`petiole_workers.runner.Runner`).
A hint that waits here while another worker idles is not lost to it: its queue looks empty to the sweep, which
publishes the task again, and whoever claims it first runs it.

How many are fetched ahead goes by how long they take: many while they are short, so that there is something to gather;
Celery's own number while they are long, so that they wait in the broker, where any worker finds them.
"""

from __future__ import annotations

import json
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from celery import signals
from celery.worker import state
from celery.worker.request import Request, create_request_cls

logger = logging.getLogger("petiole.worker")

#: How often to look whether a slot has become free unnoticed, in seconds.
LOOK = 0.5
#: Up to so many seconds a hint, on average, the consumer fetches ahead as many as its slots may take together.
SHORT = 0.02
#: How much the newest job counts in that average.
WEIGHT = 0.2


class _Delivery(NamedTuple):
    message: Any
    ack: Callable[..., None]
    reject: Callable[..., None]
    callbacks: Any


class Gatherer:
    """Celery's strategy for Petiole's task in one consumer.

    Parameters
        slots  how many pool processes there are
        most   how many hints one job may take
    """

    def __init__(self, task: Any, app: Any, consumer: Any, *, slots: int, most: int) -> None:
        self._app, self._consumer, self._task = app, consumer, task
        self._slots, self._most = slots, most
        self._waiting: deque[_Delivery] = deque()
        self._live: dict[Any, tuple[float, int]] = {}  # request -> when it went out, with how many hints
        self._seconds = SHORT  # a hint takes, on average
        self._ahead = 0  # fetched beyond Celery's own prefetch count
        self.connected()
        if consumer.hub is not None:
            consumer.hub.call_repeatedly(LOOK, self._refill)

    def connected(self) -> None:
        """The consumer has a new connection. What waits came over the old one; it is run all the same."""
        consumer = self._consumer
        self._ahead = 0
        base = create_request_cls(
            Request, self._task, consumer.pool, consumer.hostname, consumer.event_dispatcher, app=self._app
        )
        self._request = _noticing(base, self._ended)

    def handle(self, message: Any, body: Any, ack: Any, reject: Any, callbacks: Any, **_: Any) -> None:
        """Take one message from the broker."""
        self._waiting.append(_Delivery(message, ack, reject, callbacks))
        self._refill()

    def _ended(self, request: Any) -> None:
        began, count = self._live.pop(request, (None, 0))
        if began is not None:
            took = (time.monotonic() - began) / count
            self._seconds += WEIGHT * (took - self._seconds)
            self._adapt()
        self._refill()

    def _adapt(self) -> None:
        """Fetch further ahead, or no longer: the consumer's loop tells the broker when it sees the new number."""
        qos = self._consumer.qos
        wanted = self._slots * self._most if self._seconds < SHORT else 0
        if qos is None or wanted == self._ahead:
            return
        if wanted > self._ahead:
            qos.increment_eventually(wanted - self._ahead)
        else:
            qos.decrement_eventually(self._ahead - wanted)
        self._ahead = wanted

    def _refill(self) -> None:
        """Give every free slot its share of what waits."""
        while self._waiting and (free := self._free()) > 0:
            share = (
                -(-len(self._waiting) // max(free, 1))
                if free == self._slots
                else -(-len(self._waiting) // self._slots)
            )
            count = max(1, min(self._most, share))
            self._dispatch([self._waiting.popleft() for _ in range(count)])

    def _free(self) -> int:
        self._live = {
            request: out for request, out in self._live.items() if request in state.reserved_requests
        }
        return self._slots - len(self._live)

    def _dispatch(self, deliveries: list[_Delivery]) -> None:
        first, *others = deliveries
        consumer = self._consumer
        body = first.message.body
        if others:
            payloads = [delivery.message.payload for delivery in deliveries]
            hints = [hint for args, _, _ in payloads for hint in args]
            body = json.dumps([hints, {}, payloads[0][2]]).encode()
        request = self._request(
            first.message,
            on_ack=first.ack,
            on_reject=first.reject,
            app=self._app,
            hostname=consumer.hostname,
            eventer=consumer.event_dispatcher,
            task=self._task,
            connection_errors=consumer.connection_errors,
            body=body,
            headers=first.message.headers,
            decoded=False,
            utc=True,
        )
        signals.task_received.send(sender=consumer, request=request)
        state.task_reserved(request)
        self._live[request] = (time.monotonic(), len(deliveries))
        for delivery in others:  # hints may be acknowledged early: the ledger knows what is to be done
            delivery.ack(logger, consumer.connection_errors)
        for callback in first.callbacks or ():
            callback(request)
        consumer.on_task_request(request)


def _noticing(base: type, ended: Callable[[Any], None]) -> type:
    """The request class, telling when one has ended."""

    class HintRequest(base):  # type: ignore[misc]
        def on_success(self, *args: Any, **kwargs: Any) -> Any:
            try:
                return super().on_success(*args, **kwargs)
            finally:
                ended(self)

        def on_failure(self, *args: Any, **kwargs: Any) -> Any:
            try:
                return super().on_failure(*args, **kwargs)
            finally:
                ended(self)

    return HintRequest


def strategy(task: Any, app: Any, consumer: Any) -> Callable[..., None]:
    """Celery asks for this once a connection: gather under prefork, Celery's own way everywhere else."""
    from celery.worker.strategy import default

    settings = app.petiole.settings
    slots = getattr(consumer.pool, "num_processes", 1) or 1
    if app.petiole.pool != "prefork" or settings.batch <= 1:
        return default(task, app, consumer)  # type: ignore[no-any-return]
    # One a consumer, whatever becomes of the connection: it knows which slots are busy, and its timer is never cancelled.
    gatherer: Gatherer | None = getattr(consumer, "petiole_gatherer", None)
    if gatherer is None:
        gatherer = consumer.petiole_gatherer = Gatherer(task, app, consumer, slots=slots, most=settings.batch)
    else:
        gatherer.connected()
    return gatherer.handle

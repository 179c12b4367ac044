"""Publishing hints: after the commit, best effort. What is lost here is published again by the sweep.

Messages are made by Celery's own envelope but go straight through one kept producer: ``apply_async`` with its routing
and pools is a third of a hop (docs/performance.md).
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from celery import Celery

from petiole_stores.ids import new_id
from petiole_stores.records import TaskRef
from petiole_workers.queues import kombu_queue, lane

logger = logging.getLogger("petiole.publisher")

TASK_NAME = "petiole.run"
#: After a failure, how long to leave the broker alone before the next try, in seconds.
PAUSE = 1.0


class Publisher:
    """Publishes hints for one Celery app; safe to use from several threads and after a fork."""

    def __init__(self, app: Celery, *, queue_type: str = "classic") -> None:
        self._app = app
        self._queue_type = queue_type
        self._local = threading.local()
        self._down_until = 0.0
        self._batches: bool | None = None

    def publish(self, refs: Sequence[TaskRef]) -> list[str]:
        """Publish a message for each task; returns the ids of those that went out (a broken broker is logged)."""
        if not refs or time.monotonic() < self._down_until:
            return []
        sent: list[str] = []
        for last in (False, True):
            try:
                producer = self._producer()
                with producer.batch() if len(refs) > 1 and hasattr(producer, "batch") else nullcontext():
                    for ref in refs[len(sent) :]:
                        self._send(producer, ref)
                        sent.append(ref.task_id)
                return sent
            except self._errors as error:
                self.close()
                if len(refs) > 1 and hasattr(producer, "batch"):
                    sent = []  # a batch that broke may not have been flushed: a doubled hint is harmless
                if last:
                    self._down_until = time.monotonic() + PAUSE
                    logger.warning(
                        "%d tasks could not be published (%s: %s); the sweep will publish them",
                        len(refs) - len(sent), type(error).__name__, error,
                    )  # fmt: skip
        return sent

    def depth(self, queue: str) -> int:
        """How many messages wait in a queue of the broker, which is made if it is not there. Raises what kombu raises."""
        channel = self._producer().channel
        try:
            return int(kombu_queue(queue, self._queue_type)(channel).queue_declare().message_count)
        except self._errors:
            self.close()
            raise

    def close(self) -> None:
        """Drop the calling thread's connection."""
        connection = self._local.__dict__.pop("connection", None)
        self._local.__dict__.clear()
        if connection is not None:
            try:
                connection.close()
            except self._errors:
                pass

    @property
    def _errors(self) -> tuple[type[BaseException], ...]:
        from kombu.exceptions import OperationalError

        errors: tuple[type[BaseException], ...] | None = self.__dict__.get("_error_types")
        if errors is None:
            connection = self._app.connection_for_write()
            errors = (*connection.connection_errors, *connection.channel_errors, OperationalError, OSError)
            self.__dict__["_error_types"] = errors
        return errors

    def _producer(self) -> Any:
        local = self._local
        if getattr(local, "pid", None) != os.getpid():
            local.__dict__.clear()  # after a fork the parent's connection is the parent's
            connection = self._app.connection_for_write()
            connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
            local.connection, local.pid, local.declared = connection, os.getpid(), set()
            local.producer = connection.Producer(auto_declare=False)
        return local.producer

    def _send(self, producer: Any, ref: TaskRef) -> None:
        queue = lane(ref.queue, ref.priority)
        if queue not in self._local.declared:
            kombu_queue(queue, self._queue_type)(producer.channel).queue_declare()
            self._local.declared.add(queue)
        hint = (ref.thread_id, ref.run_id, ref.task_id, ref.graph, ref.node)
        headers, properties, body, _ = self._app.amqp.as_task_v2(
            new_id(), TASK_NAME, args=(hint,), argsrepr=f"<{ref.graph}.{ref.node} {ref.task_id}>", kwargsrepr="{}",
            ignore_result=True,
        )  # fmt: skip
        headers["petiole"] = {"graph": ref.graph, "version": ref.version, "node": ref.node}
        producer.publish(
            body, exchange="", routing_key=queue, serializer="json", headers=headers, delivery_mode=2, **properties
        )

"""Publishing hints: after the commit, best effort. What is lost here is published again by the sweep.

Messages are made by Celery's own envelope but go straight through one kept producer: ``apply_async`` with its routing
and pools is a third of a hop (docs/performance.md).
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from celery import Celery

from petiole_stores.ids import new_id
from petiole_stores.records import TaskRef
from petiole_workers.greenlets import native_thread
from petiole_workers.hop import Hint
from petiole_workers.network import SILENCE, bound_waits, network_options
from petiole_workers.queues import kombu_queue, lane

logger = logging.getLogger("petiole.publisher")

TASK_NAME = "petiole.run"
#: After a failure, how long to leave the broker alone before the next try, in seconds; longer if noticing took longer.
PAUSE = 1.0


class _Line:
    """One connection to the broker with its producer, and the queues known to exist on it."""

    def __init__(self, app: Celery) -> None:
        self.connection = connection = app.connection_for_write()
        # An app that Petiole is attached to has options of its own, which win.
        connection.transport_options = (
            network_options(connection.transport.driver_type) | connection.transport_options
        )
        # A broker that refused is tried once more at once; one that was silent has cost enough time.
        connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0, timeout=SILENCE / 2)
        bound_waits(connection)
        self.producer = self.connection.Producer(auto_declare=False)
        self.declared: set[str] = set()

    def close(self) -> None:
        """Take leave of the broker and close the connection."""
        try:
            self.connection.release()
        except Exception:  # what is to be closed may be broken
            logger.debug("a connection could not be closed in good order", exc_info=True)

    def drop(self) -> None:
        """Close the connection without a word: nobody may be there to answer."""
        try:
            self.connection.collect()
        except Exception:  # it is broken already, that is why it is dropped
            logger.debug("a broken connection could not be dropped", exc_info=True)


class Publisher:
    """Publishes hints for one Celery app; safe to use from several threads or greenlets and after a fork.

    Each call takes an idle connection or opens one: there are never more than callers at one time.
    """

    def __init__(self, app: Celery, *, queue_type: str = "classic") -> None:
        self._app = app
        self._queue_type = queue_type
        self._lines: dict[int, list[_Line]] = {}
        self._pid = os.getpid()
        self._down_until = 0.0

    def publish(self, refs: Sequence[TaskRef]) -> list[str]:
        """Publish a message for each task; returns the ids of those that went out (a broken broker is logged)."""
        if not refs or time.monotonic() < self._down_until:
            return []
        began = time.monotonic()
        problem: Exception | None = None
        for _ in range(
            2
        ):  # an idle connection may have been cut: a second, new one tells whether the broker is there
            try:
                with self._line() as line:
                    return self._send_all(line, refs)
            except Exception as error:  # noqa: BLE001 - brokers' clients raise anything; the commit stands whatever it is
                problem = error
        # At most half of a worker's time goes to a broker that is silent.
        self._down_until = time.monotonic() + max(PAUSE, time.monotonic() - began)
        logger.warning(
            "%d tasks could not be published (%s: %s); the sweep will publish them",
            len(refs), type(problem).__name__, problem,
        )  # fmt: skip
        return []

    def depth(self, queue: str) -> int:
        """How many messages wait in a queue of the broker, which is made if it is not there. Raises what kombu raises."""
        with self._line() as line:
            declared = kombu_queue(queue, self._queue_type)(line.producer.channel).queue_declare()
            return int(declared.message_count)

    def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop().close()

    @property
    def _idle(self) -> list[_Line]:
        """The idle connections of this thread (under gevent), or of this process."""
        return self._lines.setdefault(native_thread(), [])

    @contextmanager
    def _line(self) -> Iterator[_Line]:
        """An idle connection or a new one; a connection that raised is closed, and so are the idle ones beside it."""
        if self._pid != os.getpid():  # after a fork the parent's connections are the parent's
            self._lines, self._pid = {}, os.getpid()
        try:
            line = self._idle.pop()
        except IndexError:
            line = _Line(self._app)
        try:
            yield line
        except BaseException:
            for broken in (line, *self._idle):
                broken.drop()
            self._idle.clear()
            raise
        self._idle.append(line)

    def _send_all(self, line: _Line, refs: Sequence[TaskRef]) -> list[str]:
        if len(refs) == 1:
            self._send(line, refs[0])
        else:
            with line.producer.batch():
                for ref in refs:
                    self._send(line, ref)
        return [ref.task_id for ref in refs]

    def _send(self, line: _Line, ref: TaskRef) -> None:
        queue = lane(ref.queue, ref.priority)
        if queue not in line.declared:
            kombu_queue(queue, self._queue_type)(line.producer.channel).queue_declare()
            line.declared.add(queue)
        hint = tuple(Hint.of(ref))
        headers, properties, body, _ = self._app.amqp.as_task_v2(
            new_id(), TASK_NAME, args=(hint,), argsrepr=f"<{ref.graph}.{ref.node} {ref.task_id}>", kwargsrepr="{}",
            ignore_result=True,
        )  # fmt: skip
        headers["petiole"] = {"graph": ref.graph, "version": ref.version, "node": ref.node}
        line.producer.publish(
            body,
            exchange="",
            routing_key=queue,
            serializer="json",
            headers=headers,
            delivery_mode=2,
            **properties,
        )

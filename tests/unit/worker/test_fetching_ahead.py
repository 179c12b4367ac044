"""The gatherer fetches further ahead while jobs are short."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.worker import state
from kombu.common import QoS

from petiole_workers.celery import strategy
from petiole_workers.celery.strategy import Gatherer


class Clock:
    now = 100.0

    def monotonic(self) -> float:
        return self.now


class Message:
    def __init__(self, number: int, acknowledged: list[int]) -> None:
        self.number = number
        self.payload = ([[f"hint {number}"]], {}, {"chord": None})
        self.body = json.dumps(self.payload).encode()
        self.headers = {
            "id": f"id-{number}",
            "task": "petiole.run",
            "lang": "py",
            "argsrepr": "",
            "kwargsrepr": "",
        }
        self.properties: dict[str, Any] = {}
        self.delivery_info: dict[str, Any] = {}
        self.content_type, self.content_encoding = "application/json", "utf-8"
        self._acknowledged = acknowledged

    def ack(self, *_: object) -> None:
        self._acknowledged.append(self.number)


class Stage:
    """A consumer with two slots, whose jobs end when the test says so."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = Clock()
        monkeypatch.setattr(strategy, "time", self.clock)
        self.jobs: list[Any] = []
        self.acknowledged: list[int] = []
        self.prefetch: list[int] = []
        self.consumer = SimpleNamespace(
            pool=SimpleNamespace(apply_async=None),
            hostname="w@h",
            event_dispatcher=None,
            connection_errors=(),
            hub=None,
            qos=QoS(lambda prefetch_count: self.prefetch.append(prefetch_count), 8),
            on_task_request=self.jobs.append,
        )
        app = Celery("t", set_as_current=False)

        @app.task(name="petiole.run", shared=False)
        def task(*hints: object) -> None: ...

        self.gatherer = Gatherer(task, app, self.consumer, slots=2, most=16)

    def deliver(self, *numbers: int) -> None:
        for number in numbers:
            message = Message(number, self.acknowledged)
            self.gatherer.handle(message, None, message.ack, message.ack, ())

    def end(self, job: Any, after: float = 0.0) -> None:
        self.clock.now += after
        job.on_success((False, None, after))


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    state.reserved_requests.clear()
    return Stage(monkeypatch)


def test_short_jobs_are_fetched_ahead_and_long_ones_are_not(stage: Stage) -> None:
    qos = stage.consumer.qos
    assert qos.value == 8

    stage.deliver(1)
    stage.end(stage.jobs[0], after=0.002)
    assert qos.value == 8 + 2 * 16

    stage.deliver(2)
    stage.end(stage.jobs[1], after=30.0)
    assert qos.value == 8, "a long node: what has not begun waits in the broker"

    stage.deliver(3)
    stage.end(stage.jobs[2], after=0.002)
    assert qos.value == 8, "one short one does not make them short"


def test_a_new_connection_begins_with_celerys_number(stage: Stage) -> None:
    stage.deliver(1)
    stage.end(stage.jobs[0], after=0.002)
    stage.consumer.qos = QoS(lambda prefetch_count: None, 8)

    stage.gatherer.connected()
    stage.deliver(2)
    stage.end(stage.jobs[1], after=0.002)

    assert stage.consumer.qos.value == 8 + 2 * 16

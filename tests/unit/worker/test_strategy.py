"""The Gatherer: jobs of several hints while every slot is busy, and fetching ahead while they are short."""

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

    def hints(self, job: Any) -> list[str]:
        return [hint[0] for hint in json.loads(job.body)[0]]


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    state.reserved_requests.clear()
    return Stage(monkeypatch)


def test_a_free_slot_gets_each_hint_at_once(stage: Stage) -> None:
    stage.deliver(1, 2)

    assert [stage.hints(job) for job in stage.jobs] == [["hint 1"], ["hint 2"]]


def test_what_waits_is_shared_out_between_the_slots(stage: Stage) -> None:
    stage.deliver(*range(1, 10))
    assert len(stage.jobs) == 2

    stage.end(stage.jobs[0])

    assert stage.hints(stage.jobs[2]) == ["hint 3", "hint 4", "hint 5", "hint 6"], (
        "half of the seven, rounded up"
    )
    assert stage.acknowledged == [4, 5, 6], "all but the first, which the pool acknowledges when it begins"
    stage.end(stage.jobs[1])
    assert stage.hints(stage.jobs[3]) == ["hint 7", "hint 8"]


def test_a_job_that_failed_frees_its_slot(stage: Stage) -> None:
    stage.deliver(1, 2, 3)
    state.reserved_requests.discard(stage.jobs[0])  # as Celery does when a pool process dies
    stage.deliver(4)

    assert [stage.hints(job) for job in stage.jobs[2:]] == [["hint 3"]]


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

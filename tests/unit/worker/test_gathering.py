"""The gatherer with a consumer and a pool that the test plays."""

from __future__ import annotations

import json
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from celery import Celery
from celery.worker import state

from petiole_workers.celery import strategy as gathering
from petiole_workers.celery.app import make_app
from petiole_workers.celery.strategy import Gatherer, strategy
from petiole_workers.publishing import TASK_NAME
from petiole_workers.registry import Registry
from petiole_workers.settings import Settings


class Message:
    """A delivery as kombu gives it."""

    def __init__(self, name: str) -> None:
        hint = ("t", "r", name, "g", "n", False)
        self.payload: Any = [[hint], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
        self.body = json.dumps(self.payload).encode()
        self.headers = {
            "id": name,
            "task": TASK_NAME,
            "root_id": name,
            "lang": "py",
            "argsrepr": "",
            "kwargsrepr": "{}",
        }
        self.delivery_info: dict[str, Any] = {}
        self.properties = {"correlation_id": name}
        self.content_type, self.content_encoding = "application/json", "utf-8"


class Qos:
    """How many messages the consumer may have fetched."""

    value = 8

    def increment_eventually(self, n: int) -> None:
        self.value += n

    def decrement_eventually(self, n: int) -> None:
        self.value -= n


class Scene:
    """Two slots; jobs are what the consumer was asked to run."""

    def __init__(self, app: Celery, most: int = 4) -> None:
        self.jobs: list[Any] = []
        self.acked: list[str] = []
        self.repeated: list[Any] = []
        self.app, self.task = app, app.tasks[TASK_NAME]
        self.consumer = SimpleNamespace(
            event_dispatcher=None,
            pool=SimpleNamespace(num_processes=2, apply_async=lambda *args, **kw: None),
            hostname="w@h",
            hub=SimpleNamespace(call_repeatedly=lambda every, call: self.repeated.append(call)),
            connection_errors=(OSError,),
            qos=Qos(),
            on_task_request=self.jobs.append,
        )
        self.gatherer = Gatherer(self.task, app, self.consumer, slots=2, most=most)

    def deliver(self, *names: str) -> None:
        for name in names:
            ack = lambda *_, name=name: self.acked.append(name)  # noqa: E731
            self.gatherer.handle(Message(name), None, ack, None, [])

    def hints(self, job: Any) -> list[str]:
        return [hint[2] for hint in json.loads(job.body)[0]]

    def end(self, job: Any, *, failed: bool = False) -> None:
        """The pool is done with a job."""
        state.task_ready(job)
        if failed:
            self.gatherer._ended(job)
        else:
            job.on_success((False, None, 0.1))


@pytest.fixture
def scene() -> Iterator[Scene]:
    app = make_app(Settings(store="sqlite:////a/b.db", broker="memory://"), Registry())
    app.finalize()
    before = set(state.reserved_requests)
    yield Scene(app)
    for request in set(state.reserved_requests) - before:
        state.task_ready(request)


def test_with_free_slots_each_hint_goes_out_by_itself(scene: Scene) -> None:
    scene.deliver("1", "2")
    assert [scene.hints(job) for job in scene.jobs] == [["1"], ["2"]]
    assert scene.acked == [], "Celery acknowledges when the pool takes the job"


def test_what_waits_goes_out_together_in_order_and_by_shares(scene: Scene) -> None:
    scene.deliver("1", "2", "3", "4", "5", "6", "7")
    assert len(scene.jobs) == 2
    scene.end(scene.jobs[0])
    assert scene.hints(scene.jobs[2]) == ["3", "4", "5"], "half of five: the other slot will want some too"
    assert scene.acked == ["4", "5"], "those within the job that Celery knows nothing of"
    scene.end(scene.jobs[1])
    assert scene.hints(scene.jobs[3]) == ["6"]
    scene.end(scene.jobs[2])
    assert scene.hints(scene.jobs[4]) == ["7"]


def test_a_job_takes_no_more_than_it_may(scene: Scene) -> None:
    scene.deliver(*map(str, range(22)))
    scene.end(scene.jobs[0])
    assert len(scene.hints(scene.jobs[2])) == 4


def test_it_fetches_ahead_while_jobs_are_short_and_stops_when_they_are_long(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = SimpleNamespace(at=0.0)
    monkeypatch.setattr(gathering, "time", SimpleNamespace(monotonic=lambda: now.at))

    def hint_that_takes(seconds: float) -> int:
        scene.deliver("1")
        now.at += seconds
        scene.end(scene.jobs[-1])
        return scene.consumer.qos.value

    assert hint_that_takes(0.001) == 8 + 2 * 4
    assert hint_that_takes(0.001) == 8 + 2 * 4, "once"
    assert hint_that_takes(5.0) == 8
    assert hint_that_takes(0.001) == 8, "one short job after a long one is no habit"


def test_a_slot_that_became_free_unnoticed_is_found_by_the_timer(scene: Scene) -> None:
    scene.deliver("1", "2", "3")
    state.task_ready(scene.jobs[0])  # its process died: Celery forgot the request without telling
    assert len(scene.jobs) == 2
    [look] = scene.repeated
    look()
    assert scene.hints(scene.jobs[2]) == ["3"]


def test_a_new_connection_keeps_the_accounts_and_adds_no_timer(scene: Scene) -> None:
    scene.consumer = SimpleNamespace(**vars(scene.consumer))
    scene.app.petiole.pool = "prefork"
    first = strategy(scene.task, scene.app, scene.consumer)
    second = strategy(scene.task, scene.app, scene.consumer)
    assert first == second
    assert len(scene.repeated) == 2, "the scene's own gatherer, and one of this consumer"


@pytest.mark.parametrize(("pool", "batch"), [("threads", 16), ("gevent", 16), ("solo", 16), ("prefork", 1)])
def test_elsewhere_celery_s_own_way_is_kept(
    pool: str, batch: int, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("celery.worker.strategy.default", lambda task, app, consumer: "celery's own")
    scene.app.petiole.pool = pool
    scene.app.petiole.settings = Settings(batch=batch)
    assert strategy(scene.task, scene.app, scene.consumer) == "celery's own"

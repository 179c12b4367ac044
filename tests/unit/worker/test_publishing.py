"""Publishing with a broker that is down, comes back, or refuses: never an error, never more than one pause."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from kombu.exceptions import OperationalError

from petiole_stores.records import TaskRef
from petiole_workers import publishing
from petiole_workers.celery.app import context_of, make_app
from petiole_workers.publishing import Publisher
from petiole_workers.registry import Registry
from petiole_workers.settings import Settings


def ref(number: int, **changes: Any) -> TaskRef:
    fields: dict[str, Any] = {"queue": "publishing-test", "priority": "default", "graph": "g", "node": "n"}
    return TaskRef(task_id=f"t{number}", run_id="r", thread_id="t", **(fields | changes))


@pytest.fixture
def app() -> Celery:
    return make_app(Settings(store="sqlite:////a/b.db", broker="memory://"), Registry())


@pytest.fixture
def publisher(app: Celery) -> Iterator[Publisher]:
    publisher = context_of(app).publisher
    yield publisher
    with publisher._line() as line:
        for lane in ("publishing-test", "publishing-test.high"):
            line.connection.default_channel.queue_purge(lane)
    publisher.close()


def test_one_and_many_go_to_their_lanes(publisher: Publisher) -> None:
    assert publisher.publish([ref(1)]) == ["t1"]
    assert publisher.publish([ref(2), ref(3, priority="high"), ref(4)]) == ["t2", "t3", "t4"]
    assert publisher.depth("publishing-test") == 3
    assert publisher.depth("publishing-test.high") == 1
    assert len(publisher._idle) == 1, "one connection, used again"


def test_a_message_holds_ids_alone_and_says_whether_to_run_alone(publisher: Publisher) -> None:
    publisher.publish([ref(1, priority="high")])
    with publisher._line() as line:
        message = line.connection.SimpleQueue("publishing-test.high").get(timeout=1)
    assert message.payload[0] == [["t", "r", "t1", "g", "n", True, None]]
    message.ack()


class Broken:
    """Stands in for sending: fails so many times."""

    def __init__(self, publisher: Publisher, monkeypatch: pytest.MonkeyPatch, *errors: Exception) -> None:
        self.errors, self.calls, real = [*errors], 0, publisher._send_all

        def send_all(line: Any, refs: Any) -> list[str]:
            self.calls += 1
            if self.errors:
                raise self.errors.pop(0)
            return real(line, refs)

        monkeypatch.setattr(publisher, "_send_all", send_all)


def test_a_connection_that_was_cut_is_replaced(publisher: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    publisher.publish([ref(1)])
    first = publisher._idle[0]
    Broken(publisher, monkeypatch, ConnectionResetError("cut"))
    assert publisher.publish([ref(2)]) == ["t2"]
    assert publisher._idle[0] is not first


@pytest.mark.parametrize(
    "error", [OperationalError("down"), OSError("down"), RuntimeError("anything")], ids=repr
)
def test_a_broker_that_is_down_is_told_once_and_left_alone_for_a_while(
    error: Exception, publisher: Publisher, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 100.0
    monkeypatch.setattr(publishing.time, "monotonic", lambda: now)
    broken = Broken(publisher, monkeypatch, error, error)
    assert publisher.publish([ref(1), ref(2)]) == []
    assert publisher.publish([ref(3)]) == []
    assert broken.calls == 2, "an old connection, a new one, then a pause"
    [said] = [record.getMessage() for record in caplog.records]
    assert said.startswith(f"2 tasks could not be published ({type(error).__name__}: ")
    now += publishing.PAUSE
    assert publisher.publish([ref(4)]) == ["t4"]


def test_nothing_to_publish_needs_no_broker() -> None:
    app = make_app(Settings(store="sqlite:////a/b.db", broker="amqp://nobody@127.0.0.1:1//"), Registry())
    assert context_of(app).publisher.publish([]) == []


def test_a_fork_leaves_its_parent_s_connections_alone(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    publisher.publish([ref(1)])
    [parents] = publisher._idle
    monkeypatch.setattr(publisher, "_pid", os.getpid() - 1)
    with publisher._line() as line:
        assert line is not parents
    assert parents.connection.connected
    parents.close()

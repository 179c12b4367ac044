"""Half-open connections: a store or broker that takes what is sent and never answers holds nobody up for long."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from petiole_stores.errors import ConfigurationError, StoreUnavailableError
from petiole_stores.ids import new_id
from petiole_stores.opening import open_store
from petiole_stores.records import START_PATH, Claim, FinishAnswer, NewRun, NewTask, Outcome, TaskRef, Worker
from petiole_stores.redis import RedisStore
from petiole_stores.redis.connection import NETWORK
from petiole_stores.sql.postgres import PostgresStore
from petiole_stores.sql.silence import unhurried
from petiole_stores.store import Store, StoreUrl
from petiole_workers import network, publishing
from petiole_workers.celery.app import context_of, make_app
from petiole_workers.publishing import Publisher
from petiole_workers.registry import Registry
from petiole_workers.settings import Settings
from tests.proxy import Proxy

HOLDER = "w"


class Timed:
    """How long a block took; the server's own time-outs in these tests are 1 to 2 s, and a call is made twice."""

    def __enter__(self) -> Timed:
        self.began = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        self.took = time.monotonic() - self.began


BOUND = 8.0

# ---------------------------------------------------------------- stores


@pytest.fixture(
    params=[
        pytest.param("postgres_url", marks=pytest.mark.postgres),
        pytest.param("redis_url", marks=pytest.mark.redis),
    ]
)
def led(request: pytest.FixtureRequest) -> Iterator[tuple[Proxy, Store]]:
    """A proxy, and a store that is reached through it with short time-outs."""
    url = request.getfixturevalue(request.param)
    options = "answer_timeout=1&connect_timeout=2" if request.param == "postgres_url" else "socket_timeout=1"
    with ExitStack() as stack:
        proxy = stack.enter_context(Proxy.before(url, 0))
        through = proxy.url(url)
        store = open_store(f"{through}{'&' if '?' in through else '?'}{options}")
        stack.callback(store.close)
        yield proxy, store


def claimed(store: Store) -> tuple[str, Callable[[], Claim | None]]:
    """A run's first task, and the call that claims it; that call may be made again."""
    store.beat(Worker(worker_id=HOLDER, name=HOLDER))
    start = NewTask(task_id=new_id(), path=START_PATH, node="__start__", kind="advance")
    store.submit([NewRun(run_id=new_id(), thread_id="t", graph="g", start=start, input="{}")])
    wants = [(start.task_id, new_id())]
    return start.task_id, lambda: store.claim(HOLDER, "1", wants)[0].claim


def finish(store: Store, claim: Claim) -> FinishAnswer:
    outcome = Outcome(
        task_id=claim.task.task_id, token=claim.task.token or "", ending="failed", error="{}",
        advance_id=new_id(), advance_token=new_id(),
    )  # fmt: skip
    return store.finish(HOLDER, "1", [outcome])[0]


def test_a_claim_and_a_finish_on_a_silent_store_end_and_may_be_made_again(led: tuple[Proxy, Store]) -> None:
    proxy, store = led
    _, claim = claimed(store)
    proxy.fall_silent()
    with Timed() as timed, pytest.raises(StoreUnavailableError, match=r"cannot be reached|does not answer"):
        claim()
    assert timed.took < BOUND
    proxy.speak()
    held = claim()
    assert held is not None

    proxy.fall_silent()
    with Timed() as timed, pytest.raises(StoreUnavailableError):
        finish(store, held)
    assert timed.took < BOUND
    with (
        Timed() as timed,
        pytest.raises(StoreUnavailableError),
    ):  # now there is no old connection, only new ones
        finish(store, held)
    assert timed.took < BOUND
    proxy.speak()
    assert finish(store, held).result in ("committed", "already")


def test_a_store_that_was_silent_for_less_than_its_time_out_is_no_error(led: tuple[Proxy, Store]) -> None:
    proxy, store = led
    _, claim = claimed(store)
    proxy.fall_silent()
    proxy.speak_in(0.5)
    with Timed() as timed:
        assert claim() is not None
    assert timed.took >= 0.4


@pytest.mark.postgres
def test_migrations_and_backups_may_take_longer(postgres_url: str) -> None:
    store = open_store(f"{postgres_url}?answer_timeout=0.5")
    assert isinstance(store, PostgresStore)
    with unhurried():
        assert store.connections.rows("SELECT 1 FROM pg_sleep(1)", ()) == [(1,)]
    with pytest.raises(StoreUnavailableError, match=r"no answer within 0\.5 s \(answer_timeout\)"):
        store.connections.rows("SELECT 1 FROM pg_sleep(30)", ())
    assert store.connections.rows("SELECT 1", ()) == [(1,)]
    store.close()


def test_the_time_outs_are_seconds_unless_the_url_says_otherwise() -> None:
    def timeout(options: str) -> float | None:
        store = PostgresStore(StoreUrl.parse(f"postgresql://localhost/a?{options}"))
        return store.connections._answer_timeout

    assert (timeout(""), timeout("answer_timeout=0.5"), timeout("answer_timeout=none")) == (10.0, 0.5, None)
    for wrong in ("soon", "0", "-1", "nan"):
        with pytest.raises(ConfigurationError, match=rf"answer_timeout='{wrong}' in the store URL"):
            timeout(f"answer_timeout={wrong}")
    options = RedisStore("redis://localhost/0?socket_timeout=0.5")._connection.client.get_connection_kwargs()
    assert options["socket_timeout"] == 0.5
    assert options["socket_connect_timeout"] == NETWORK["socket_connect_timeout"] == 5.0


# ---------------------------------------------------------------- brokers


def ref(queue: str) -> TaskRef:
    return TaskRef(
        task_id="t1", run_id="r", thread_id="t", queue=queue, priority="default", graph="g", node="n"
    )


@pytest.fixture(
    params=[
        pytest.param(("redis_url", {}), marks=pytest.mark.redis, id="redis"),
        pytest.param(("rabbitmq_url", {}), marks=pytest.mark.rabbitmq, id="rabbitmq"),
        pytest.param(
            ("rabbitmq_url", {"publisher_confirms": True}),
            marks=pytest.mark.rabbitmq,
            id="rabbitmq with confirms",
        ),
    ]
)
def broker(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Proxy, Publisher]]:
    """A proxy, and a publisher whose broker is behind it; its time-outs are short."""
    fixture, options = request.param
    for module in (network, publishing):
        monkeypatch.setattr(module, "SILENCE", 1.0)
    monkeypatch.setattr(publishing, "PAUSE", 0.0)
    url = request.getfixturevalue(fixture)
    with Proxy.before(url, 0) as proxy:
        app = make_app(Settings(store="memory://", broker=proxy.url(url), **options), Registry())
        app.conf.broker_connection_timeout = 1.0
        publisher = context_of(app).publisher
        yield proxy, publisher
        publisher.close()


def publish(publisher: Publisher, queue: str, number: int = 1) -> list[str]:
    publisher._down_until = 0.0
    return publisher.publish([ref(queue)] * number)


def test_a_publish_on_a_silent_broker_returns(
    broker: tuple[Proxy, Publisher], queue_prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    proxy, publisher = broker
    assert publish(publisher, f"{queue_prefix}known") == ["t1"]
    proxy.fall_silent()
    with Timed() as timed:  # a queue that is new on this connection: its declaration waits for an answer
        assert publish(publisher, f"{queue_prefix}new") == []
    assert timed.took < BOUND
    assert "the sweep will publish them" in caplog.text
    with Timed() as timed:  # there is no connection any more, and several messages
        assert publish(publisher, f"{queue_prefix}known", 3) == []
    assert timed.took < BOUND
    with Timed() as left_alone:  # for as long as it took
        assert publisher.publish([ref(f"{queue_prefix}known")]) == []
    assert left_alone.took < timed.took / 2
    proxy.speak()
    assert publish(publisher, f"{queue_prefix}known") == ["t1"]


def test_an_attached_app_keeps_its_own_options_and_gets_those_it_lacks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[dict[str, Any]] = []

    class Stop(Exception):
        pass

    def ensure(connection: Any, **_: object) -> None:
        seen.append(connection.transport_options)
        raise Stop

    monkeypatch.setattr("kombu.Connection.ensure_connection", ensure)
    app = make_app(Settings(store="memory://", broker="redis://127.0.0.1:1/0"), Registry())
    app.conf.broker_transport_options = {"socket_timeout": 60.0}
    with pytest.raises(Stop):
        publishing._Line(app)
    assert seen[0] == network.network_options("redis") | {"socket_timeout": 60.0}

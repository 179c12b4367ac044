"""Fixtures for the whole suite: servers, and a fresh database, number or virtual host on them.

A server that cannot be had skips its tests with the reason; with ``CI`` set it fails them.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.discovery import (
    POSTGRES,
    RABBITMQ,
    REDIS,
    Found,
    Kind,
    NoServerError,
    PostgresDatabases,
    RedisDatabases,
    VirtualHosts,
    control_of,
    discover,
)
from tests.servers import OwnPostgres, OwnRabbitMQ, OwnRedis, OwnServer


def unavailable(reason: str) -> None:
    """Skip, or fail where a skipped test would hide a broken set-up."""
    if os.environ.get("CI"):
        pytest.fail(f"{reason} (CI is set, so this is a failure)", pytrace=False)
    pytest.skip(reason)


@contextmanager
def session_server(kind: Kind) -> Iterator[Found]:
    """The server of this session; a private one is closed at its end."""
    try:
        found = discover(kind, os.environ)
    except NoServerError as error:
        unavailable(str(error))
        raise
    try:
        yield found
    finally:
        if found.own is not None:
            found.own.close()


@pytest.fixture(scope="session")
def postgres_databases() -> Iterator[PostgresDatabases]:
    """Makes and drops databases: ``create(template=None) -> url``, ``drop(url)``, ``with fresh() as url``."""
    with session_server(POSTGRES) as found:
        databases = PostgresDatabases(found.url)
        databases.drop_leftovers()
        yield databases


@pytest.fixture
def postgres_url(postgres_databases: PostgresDatabases) -> Iterator[str]:
    """A fresh database for one test."""
    with postgres_databases.fresh() as url:
        yield url


@pytest.fixture(scope="module")
def module_postgres_url(postgres_databases: PostgresDatabases) -> Iterator[str]:
    """A fresh database for one module."""
    with postgres_databases.fresh() as url:
        yield url


@pytest.fixture(scope="session")
def redis_databases() -> Iterator[RedisDatabases]:
    """Lends empty numbered databases: ``with fresh() as url``."""
    with session_server(REDIS) as found:
        yield RedisDatabases(found.url, found.own.folder / "locks" if found.own else None)


@pytest.fixture
def redis_url(redis_databases: RedisDatabases) -> Iterator[str]:
    """An empty database for one test."""
    with redis_databases.fresh() as url:
        yield url


@pytest.fixture(scope="module")
def module_redis_url(redis_databases: RedisDatabases) -> Iterator[str]:
    """An empty database for one module."""
    with redis_databases.fresh() as url:
        yield url


@pytest.fixture(scope="session")
def rabbitmq_hosts() -> Iterator[VirtualHosts]:
    """Makes virtual hosts: ``with fresh() as url``."""
    with session_server(RABBITMQ) as found:
        hosts = VirtualHosts(found.url, control_of(found, os.environ))
        hosts.drop_leftovers()
        yield hosts


@pytest.fixture
def rabbitmq_url(rabbitmq_hosts: VirtualHosts) -> Iterator[str]:
    """A fresh virtual host for one test."""
    with rabbitmq_hosts.fresh() as url:
        yield url


@pytest.fixture(scope="module")
def module_rabbitmq_url(rabbitmq_hosts: VirtualHosts) -> Iterator[str]:
    """A fresh virtual host for one module."""
    with rabbitmq_hosts.fresh() as url:
        yield url


@pytest.fixture
def queue_prefix() -> str:
    """A prefix for names of queues and keys that nothing else uses."""
    return f"t{uuid.uuid4().hex[:12]}."


@pytest.fixture(scope="session")
def own_server() -> Iterator[Callable[[type[OwnServer]], OwnServer]]:
    """Gives the session's one private server of a class: started on first use, again if a test ended it, and empty."""
    servers: dict[type[OwnServer], OwnServer] = {}
    with ExitStack() as stack:

        def get(kind: type[OwnServer]) -> OwnServer:
            if kind not in servers:
                if reason := kind.missing():
                    unavailable(f"no private {kind.kind}: {reason}")
                servers[kind] = kind()
                stack.callback(servers[kind].close)
            server = servers[kind].start()
            server.flush()
            return server

        yield get


@pytest.fixture
def own_redis(own_server: Callable[[type[OwnServer]], OwnServer]) -> OwnServer:
    """A private Redis or Valkey that the test may flush, kill and restart; empty at the start."""
    return own_server(OwnRedis)


@pytest.fixture
def own_postgres(own_server: Callable[[type[OwnServer]], OwnServer]) -> OwnServer:
    """A private PostgreSQL that the test may kill and restart; its database is empty at the start."""
    return own_server(OwnPostgres)


@pytest.fixture
def own_rabbitmq(own_server: Callable[[type[OwnServer]], OwnServer]) -> OwnServer:
    """A private RabbitMQ that the test may kill and restart (about 7 s); its virtual host is empty at the start."""
    return own_server(OwnRabbitMQ)

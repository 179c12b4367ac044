"""Databases of the benchmark's own on the servers that the tests use, removed afterwards; and how much stands in them."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator

import psycopg
import redis

from tests.discovery import (
    POSTGRES,
    RABBITMQ,
    REDIS,
    Kind,
    PostgresDatabases,
    RedisDatabases,
    VirtualHosts,
    control_of,
    discover,
)


class Servers:
    """Hands out fresh databases for the length of a ``with`` block; servers are found, or started, when first asked for."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._found: dict[str, object] = {}

    def __enter__(self) -> Servers:
        return self

    def __exit__(self, *details: object) -> None:
        self._stack.close()

    def postgres(self) -> contextlib.AbstractContextManager[str]:
        """A new database's URL."""
        return self._databases(POSTGRES, lambda url, found: PostgresDatabases(url)).fresh()

    def redis(self) -> contextlib.AbstractContextManager[str]:
        """An empty numbered database's URL."""
        return self._databases(REDIS, lambda url, found: RedisDatabases(url)).fresh()

    def rabbitmq(self) -> contextlib.AbstractContextManager[str]:
        """A new virtual host's URL."""
        return self._databases(
            RABBITMQ, lambda url, found: VirtualHosts(url, control_of(found, os.environ))
        ).fresh()

    def _databases(self, kind: Kind, make):  # type: ignore[no-untyped-def]
        if kind.name not in self._found:
            found = discover(kind, os.environ)
            if found.own is not None:
                self._stack.callback(found.own.close)
            databases = make(found.url, found)
            if hasattr(databases, "drop_leftovers"):
                databases.drop_leftovers()
            self._found[kind.name] = databases
        return self._found[kind.name]


@contextlib.contextmanager
def redis_pair(servers: Servers) -> Iterator[tuple[str, str]]:
    """Two Redis databases of one server: broker, and results or store."""
    with servers.redis() as first, servers.redis() as second:
        yield first, second


def stored_bytes(url: str) -> int:
    """Bytes that a database takes up now: tables and indexes, the memory of a Redis database's keys, the used pages of a SQLite file."""
    if url.startswith("postgresql"):
        with psycopg.connect(url, autocommit=True) as connection:
            row = connection.execute(
                "select sum(pg_total_relation_size(c.oid)) from pg_class c join pg_namespace n on n.oid = relnamespace"
                " where relkind = 'r' and nspname not in ('pg_catalog', 'information_schema')"
            ).fetchone()
            return int(row[0] or 0) if row else 0
    if url.startswith("redis"):
        with redis.Redis.from_url(url) as client:
            # Key by key: the server's own figure is of all its users.
            return sum(client.memory_usage(key, samples=0) or 0 for key in client.scan_iter(count=1000))
    with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        pages, free, size = (
            connection.execute(f"pragma {name}").fetchone()[0]
            for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)

"""Postgres' items: puts and gets are functions of the database, the rest of reading one statement each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from petiole_stores.items import ItemWrite, StoredItem, range_end
from petiole_stores.serde.sealed import Sealed
from petiole_stores.sql.reading import PostgresReads

_COLUMNS = "i.ns, i.key, i.codec, i.data, i.checksum, i.created_at, i.updated_at, i.ttl, i.expires_at"
_ALIVE = (
    "(i.expires_at IS NULL OR i.expires_at > coalesce(%s::float8, extract(epoch FROM clock_timestamp())))"
)

_PUT = """
SELECT * FROM petiole_put_items(
    %s::text[], %s::text[], %s::text[], %b::bytea[], %s::text[], %s::float8[], %s::bool[], %s::float8)"""
_REMOVE = "SELECT petiole_remove_items(%s, %s, %s::int)"
_GET = "SELECT * FROM petiole_get_items(%s::text[], %s::text[], %s::bool, %s::float8)"
_PURGE = "SELECT petiole_purge_items(%s::int, %s::float8)"
_RANGE = "i.ns >= %s AND i.ns < %s"
_SEARCH = f"""
SELECT {_COLUMNS} FROM items i WHERE {{}} AND {_ALIVE} ORDER BY i.updated_at DESC, i.ns, i.key LIMIT %s OFFSET %s"""
_NAMESPACES = (
    f"SELECT DISTINCT i.ns FROM items i WHERE {{}} AND i.ns > %s AND {_ALIVE} ORDER BY i.ns LIMIT %s"
)


class PostgresItems(PostgresReads):
    """Items in the table of that name."""

    def _put_items(self, writes: Sequence[ItemWrite], now: float | None) -> list[StoredItem | None]:
        columns = [
            [write.ns for write in writes],
            [write.key for write in writes],
            [write.sealed and write.sealed.codec for write in writes],
            [write.sealed and write.sealed.data for write in writes],
            [write.sealed and write.sealed.checksum for write in writes],
            [write.ttl for write in writes],
            [write.if_absent for write in writes],
        ]
        answers: list[StoredItem | None] = [None] * len(writes)
        for position, *row in self.connections.rows(_PUT, (*columns, now)):
            answers[position - 1] = _to_item(row)
        return answers

    def _remove_items(self, prefix: str, limit: int) -> int:
        return int(self._call(_REMOVE, (prefix, range_end(prefix), limit)))

    def _purge_items(self, limit: int, now: float | None) -> int:
        return int(self._call(_PURGE, (limit, now)))

    def _get_items(
        self, keys: Sequence[tuple[str, str]], refresh: bool, now: float | None
    ) -> list[StoredItem | None]:
        columns = [ns for ns, _ in keys], [key for _, key in keys]
        answers: list[StoredItem | None] = [None] * len(keys)
        for position, *row in self.connections.rows(_GET, (*columns, refresh, now)):
            answers[position - 1] = _to_item(row)
        return answers

    def _search_items(self, prefix: str, limit: int, offset: int, now: float | None) -> list[StoredItem]:
        where, values = _range(prefix)
        rows = self.connections.rows(_SEARCH.format(where), (*values, now, limit, offset))
        return [_to_item(row) for row in rows]

    def _list_namespaces(self, prefix: str, after: str, limit: int, now: float | None) -> list[str]:
        where, values = _range(prefix)
        rows = self.connections.rows(_NAMESPACES.format(where), (*values, after, now, limit))
        return [ns for (ns,) in rows]


def _range(prefix: str) -> tuple[str, tuple[str, ...]]:
    return (_RANGE, (prefix, range_end(prefix))) if prefix else ("true", ())


def _to_item(row: Sequence[Any]) -> StoredItem:
    ns, key, codec, data, checksum, created_at, updated_at, ttl, expires_at = row
    return StoredItem(ns, key, Sealed(codec, bytes(data), checksum), created_at, updated_at, ttl, expires_at)

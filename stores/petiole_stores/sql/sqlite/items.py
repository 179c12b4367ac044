"""Items: each operation a statement or two on the key of the table."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from petiole_stores.items import ItemWrite, StoredItem, range_end
from petiole_stores.serde.sealed import Sealed
from petiole_stores.sql.sqlite.rows import Row
from petiole_stores.sql.sqlite.work import Work

_COLUMNS = "ns, key, codec, data, checksum, created_at, updated_at, ttl, expires_at"
_ALIVE = "(expires_at IS NULL OR expires_at > :now)"

_GET = f"SELECT {_COLUMNS} FROM items WHERE ns = :ns AND key = :key AND {_ALIVE}"
_REFRESH = f"""
UPDATE items SET expires_at = :now + ttl WHERE ns = :ns AND key = :key AND ttl IS NOT NULL AND {_ALIVE}"""
_DELETE = "DELETE FROM items WHERE ns = ? AND key = ?"
_PUT = f"""
INSERT INTO items ({_COLUMNS})
VALUES (:ns, :key, :codec, :data, :checksum, :now, :now, :ttl, :now + :ttl)
ON CONFLICT (ns, key) DO UPDATE SET
    codec = excluded.codec, data = excluded.data, checksum = excluded.checksum, updated_at = excluded.updated_at,
    ttl = excluded.ttl, expires_at = excluded.expires_at,
    created_at = CASE WHEN {_ALIVE} THEN created_at ELSE excluded.created_at END"""
_PURGE = """
DELETE FROM items WHERE rowid IN (
    SELECT rowid FROM items WHERE expires_at IS NOT NULL AND expires_at <= ? ORDER BY expires_at LIMIT ?)"""
_REMOVE = """
DELETE FROM items WHERE rowid IN (
    SELECT rowid FROM items WHERE ns >= :start AND ns < :end ORDER BY ns, key LIMIT :limit)"""
_SEARCH = f"""
SELECT {_COLUMNS} FROM items WHERE ns >= :start AND ns < :end AND {_ALIVE}
ORDER BY updated_at DESC, ns, key LIMIT :limit OFFSET :offset"""
_NAMESPACES = f"""
SELECT DISTINCT ns FROM items WHERE ns >= :start AND ns < :end AND ns > :after AND {_ALIVE} ORDER BY ns LIMIT :limit"""


def put(work: Work, writes: Sequence[ItemWrite]) -> list[StoredItem | None]:
    """Write in order; for each ``None``, or what ``if_absent`` left there."""
    return [_put_one(work, write) for write in writes]


def _put_one(work: Work, write: ItemWrite) -> StoredItem | None:
    if write.sealed is None:
        work.db.execute(_DELETE, (write.ns, write.key))
        return None
    if write.if_absent and (there := _get_one(work.db, write.ns, write.key, work.now)):
        return there
    work.db.execute(
        _PUT,
        {
            "ns": write.ns,
            "key": write.key,
            "codec": write.sealed.codec,
            "data": write.sealed.data,
            "checksum": write.sealed.checksum,
            "now": work.now,
            "ttl": write.ttl,
        },
    )
    return None


def remove(work: Work, prefix: str, limit: int) -> int:
    return work.db.execute(_REMOVE, _range(prefix) | {"limit": limit}).rowcount


def purge(work: Work, limit: int) -> int:
    return work.db.execute(_PURGE, (work.now, limit)).rowcount


def get(db: sqlite3.Connection, keys: Sequence[tuple[str, str]], now: float) -> list[StoredItem | None]:
    return [_get_one(db, ns, key, now) for ns, key in keys]


def refresh(work: Work, keys: Sequence[tuple[str, str]]) -> list[StoredItem | None]:
    """As :func:`get`; those with a ttl live on for it from now."""
    for ns, key in keys:
        work.db.execute(_REFRESH, {"ns": ns, "key": key, "now": work.now})
    return get(work.db, keys, work.now)


def search(db: sqlite3.Connection, prefix: str, limit: int, offset: int, now: float) -> list[StoredItem]:
    values = _range(prefix) | {"limit": limit, "offset": offset, "now": now}
    return [_to_item(row) for row in db.execute(_SEARCH, values)]


def namespaces(db: sqlite3.Connection, prefix: str, after: str, limit: int, now: float) -> list[str]:
    values = _range(prefix) | {"after": after, "limit": limit, "now": now}
    return [ns for (ns,) in db.execute(_NAMESPACES, values)]


def _range(prefix: str) -> dict[str, object]:
    # A blob is greater than every text.
    return {"start": prefix, "end": range_end(prefix) if prefix else b""}


def _get_one(db: sqlite3.Connection, ns: str, key: str, now: float) -> StoredItem | None:
    row = db.execute(_GET, {"ns": ns, "key": key, "now": now}).fetchone()
    return None if row is None else _to_item(row)


def _to_item(row: Row) -> StoredItem:
    ns, key, codec, data, checksum, created_at, updated_at, ttl, expires_at = row
    return StoredItem(ns, key, Sealed(codec, data, checksum), created_at, updated_at, ttl, expires_at)

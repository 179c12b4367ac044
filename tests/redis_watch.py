"""Looking at a Redis store from outside: what it sends, what it keeps, and cutting its connection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
import redis

from petiole_stores.errors import StoreUnavailableError
from petiole_stores.records import SETTLED
from petiole_stores.redis import RedisStore
from petiole_stores.redis.connection import Call

Opener = Callable[..., RedisStore]


def spy(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> list[Sequence[Call]]:
    """The batches of scripts that a store runs from now on."""
    seen: list[Sequence[Call]] = []
    run = store._connection.run

    def record(calls: Sequence[Call]) -> list[Any]:
        seen.append(calls)
        return run(calls)

    monkeypatch.setattr(store._connection, "run", record)
    return seen


def broken_after(store: RedisStore, monkeypatch: pytest.MonkeyPatch, batches: int) -> None:
    """The connection breaks after so many batches of scripts."""
    run, left = store._connection.run, iter(range(batches))

    def some(calls: Sequence[Call]) -> list[Any]:
        if next(left, None) is None:
            raise StoreUnavailableError("cut")
        return run(calls)

    monkeypatch.setattr(store._connection, "run", some)


def keys(client: redis.Redis, pattern: str) -> list[bytes]:
    return sorted(client.scan_iter(match=pattern))


#: What the members of an index are: index -> how a member names its record (None: by itself).
_INDEXES = {
    "next": "task", "made": "task", "sent": "task", "parked": "task", "tasks": "task", "ready": "task", "step": "task",
    "held": "task", "runs": "run", "queued": "run", "open": "run", "labels": "run", "deadlines": "run", "buried-runs": "run", "ended": "thread",
    "touched": "history", "history": "checkpoint", "buried-history": "checkpoint",
}  # fmt: skip
_SETTLED = {status.encode() for status in SETTLED}
#: Where each record must be shown: kind -> indexes, any of which will do.
_SHOWN = {
    "task": {"tasks"},
    "run": {"runs", "buried-runs"},
    "checkpoint": {"history", "buried-history"},
}


def audit(client: redis.Redis, prefix: str = "petiole") -> list[str]:
    """What is wrong with the keys of a store: index entries of records that are not there, records in no index, runs that have
    settled and are in the index of those that have not, or the other way round, and labels that are not the runs'."""
    records: dict[str, set[str]] = {}
    shown: dict[str, set[str]] = {}
    entries: list[tuple[str, str, str]] = []
    unsettled: set[str] = set()
    labelled, labels = set[str](), set[str]()
    for key in client.scan_iter(match=f"{prefix}:{{p*", count=1000):
        kind, _, rest = key.decode().partition("}:")[2].partition(":")
        records.setdefault(kind, set()).add(rest)
        if kind in _INDEXES:
            for member in _members(client, key):
                record = _record_of(kind, member)
                entries.append((key.decode(), _INDEXES[kind], record))
                shown.setdefault(kind, set()).add(record)
                if kind == "labels":
                    labels.add(member)
        elif kind == "run":
            run = client.hgetall(key)
            if run[b"status"] not in _SETTLED:
                unsettled.add(rest)
            parts = [rest.encode(), run[b"thread_id"], run[b"graph"], *_tags(run[b"tags"])]
            labelled.add(b"\x1f".join([*parts, b""]).decode())
    dangling = [f"{key} shows {kind} {id}" for key, kind, id in entries if id not in records.get(kind, ())]
    hidden = [
        f"{kind} {id} is in no index"
        for kind, indexes in _SHOWN.items()
        for id in records.get(kind, ())
        if not any(id in shown.get(index, ()) for index in indexes)
    ]
    wrong = [f"run {id} is open, or is not" for id in unsettled ^ shown.get("open", set())]
    wrong += [f"labels {label} are shown, or are not" for label in labelled ^ labels]
    return sorted(dangling + hidden + wrong)


def _record_of(index: str, member: str) -> str:
    """The record that a member of an index names."""
    first, _, rest = member.partition("\x1f")
    return rest if index.endswith("history") else first


def _tags(packed: bytes) -> list[bytes]:
    """The tags of a run; of none cmsgpack makes an empty map."""
    return [tag.encode() for tag in msgspec.msgpack.decode(packed)]


def _members(client: redis.Redis, key: bytes) -> list[str]:
    read: dict[Any, Callable[[], Any]] = {
        b"zset": lambda: client.zrange(key, 0, -1),
        b"set": lambda: client.smembers(key),
        b"list": lambda: client.lrange(key, 0, -1),
    }
    return [member.decode() for member in read[client.type(key)]()]

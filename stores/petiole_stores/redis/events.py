"""Redis' events: a stream a thread, in the slot of the thread's partition (lua/events.lua has the keys)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from petiole_stores.events import EventWrite, StoredEvent
from petiole_stores.redis.base import RedisBase
from petiole_stores.redis.partitions import tag_prefix

#: Events that one script purges: none holds the server for long.
PURGE = 500


class RedisEvents(RedisBase):
    """Events in streams; a set beside each knows their ids."""

    def _append_events(
        self, thread_id: str, run_id: str, events: Sequence[EventWrite], now: float | None
    ) -> None:
        request = {
            "thread": thread_id,
            "run": run_id,
            "events": [[event.event_id, event.kind, event.codec] for event in events],
            "now": now,
        }
        data = [event.data for event in events]
        self._connection.run([self._call("append_events", self._partition(thread_id), request, data)])

    def _read_events(self, thread_id: str, after: int, limit: int) -> list[StoredEvent]:
        key = self._events_key(thread_id)
        found: list[tuple[bytes, dict[bytes, bytes]]] = self._connection.ask(
            lambda client: client.xrange(key, min=f"{after + 1}-0", count=limit)
        )
        return [_event(name, fields) for name, fields in found]

    def _newest_event(self, thread_id: str) -> int:
        key = self._events_key(thread_id)
        found: Any = self._connection.ask(lambda client: client.xrevrange(key, count=1))
        return _seq(found[0][0]) if found else 0

    def _purge_events(self, age: float, limit: int, now: float | None) -> int:
        purged = 0
        for partition in range(self.partitions):
            while purged < limit:
                most = min(limit - purged, PURGE)
                request = {"age": age, "limit": most, "now": now}
                removed = int(self._connection.run([self._call("purge_events", partition, request)])[0])
                purged += removed
                if removed < most:
                    break
        return purged

    def _events_key(self, thread_id: str) -> str:
        return f"{tag_prefix(self.prefix, self._partition(thread_id))}events:{thread_id}"


def _event(name: bytes, fields: dict[bytes, bytes]) -> StoredEvent:
    return StoredEvent(
        seq=_seq(name),
        run_id=fields[b"run"].decode(),
        event_id=fields[b"id"].decode(),
        kind=fields[b"kind"].decode(),
        codec=fields[b"codec"].decode(),
        data=fields[b"data"],
        created_at=float(fields[b"at"]),
    )


def _seq(name: bytes) -> int:
    return int(name.partition(b"-")[0])

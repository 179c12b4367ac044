"""Postgres' events: functions of ``functions/events.sql``, and plain reads."""

from __future__ import annotations

from collections.abc import Sequence

from petiole_stores.events import EventWrite, StoredEvent
from petiole_stores.sql.reading import PostgresReads

_APPEND = "SELECT petiole_append_events(%s, %s, %s::text[], %s::text[], %s::text[], %b::bytea[], %s::float8)"
_PURGE = "SELECT petiole_purge_events(%s::float8, %s::int, %s::float8)"
_NEWEST = "SELECT coalesce(max(e.seq), 0)::text FROM events e WHERE e.thread_id = %s"
_READ = """
SELECT e.seq, e.run_id, e.event_id, e.kind, e.codec, e.data, e.created_at FROM events e
WHERE e.thread_id = %s AND e.seq > %s::int8 ORDER BY e.seq LIMIT %s"""


class PostgresEvents(PostgresReads):
    """Events in a table of their own."""

    def _append_events(
        self, thread_id: str, run_id: str, events: Sequence[EventWrite], now: float | None
    ) -> None:
        columns = (
            [event.event_id for event in events],
            [event.kind for event in events],
            [event.codec for event in events],
            [event.data for event in events],
        )
        self._call(_APPEND, (thread_id, run_id, *columns, now))

    def _read_events(self, thread_id: str, after: int, limit: int) -> list[StoredEvent]:
        rows = self.connections.rows(_READ, (thread_id, after, limit))
        return [
            StoredEvent(seq, run_id, event_id, kind, codec, bytes(data), at)
            for seq, run_id, event_id, kind, codec, data, at in rows
        ]

    def _newest_event(self, thread_id: str) -> int:
        return int(self._call(_NEWEST, (thread_id,)))

    def _purge_events(self, age: float, limit: int, now: float | None) -> int:
        return int(self._call(_PURGE, (age, limit, now)))

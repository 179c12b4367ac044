"""The memory store's events."""

from __future__ import annotations

from collections.abc import Sequence

from petiole_stores.events import EventWrite, StoredEvent, first_seq
from petiole_stores.memory_tables import MemoryTables, store_time


class MemoryEvents(MemoryTables):
    """Events in a list a thread."""

    def _append_events(
        self, thread_id: str, run_id: str, events: Sequence[EventWrite], now: float | None
    ) -> None:
        with self._lock:
            if thread_id not in self._threads:
                return
            at, kept = store_time(now), self._events.setdefault(thread_id, [])
            known = {event.event_id for event in kept}
            for new in events:
                if new.event_id not in known:
                    known.add(new.event_id)
                    seq = kept[-1].seq + 1 if kept else first_seq(at)
                    kept.append(StoredEvent(seq, run_id, new.event_id, new.kind, new.codec, new.data, at))

    def _read_events(self, thread_id: str, after: int, limit: int) -> list[StoredEvent]:
        with self._lock:
            kept = self._events.get(thread_id, [])
            first = max(0, after + 1 - kept[0].seq) if kept else 0
            return kept[first : first + limit]

    def _newest_event(self, thread_id: str) -> int:
        with self._lock:
            kept = self._events.get(thread_id)
            return kept[-1].seq if kept else 0

    def _purge_events(self, age: float, limit: int, now: float | None) -> int:
        with self._lock:
            before, purged = store_time(now) - age, 0
            for thread_id, kept in list(self._events.items()):
                old = 0
                while old < len(kept) and purged < limit and kept[old].created_at < before:
                    old, purged = old + 1, purged + 1
                del kept[:old]
                if not kept:
                    del self._events[thread_id]
            return purged

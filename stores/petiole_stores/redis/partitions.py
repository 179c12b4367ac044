"""Partitions: which one a thread is in, and where the records that are named by id alone were last seen."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterable, Sequence
from typing import Literal

Kind = Literal["task", "run", "checkpoint"]


def partition_of(thread_id: str, count: int) -> int:
    """The partition of a thread: CRC-32 of its id, modulo ``count``. It must never change for stored data."""
    return zlib.crc32(thread_id.encode()) % count


def tag_prefix(prefix: str, partition: int) -> str:
    """What every key of a partition begins with; the braces make Redis Cluster put them all into one slot."""
    return f"{prefix}:{{p{partition:02d}}}:"


class Locator:
    """Remembers the partitions of ids, as many as ``size``; the oldest are forgotten first. Safe between threads."""

    def __init__(self, size: int = 50_000) -> None:
        self._size = size
        self._known: dict[tuple[Kind, str], int] = {}
        self._lock = threading.Lock()

    def learn(self, kind: Kind, ids: Iterable[str], partition: int) -> None:
        with self._lock:
            for id in ids:
                self._known[kind, id] = partition
            while len(self._known) > self._size:
                del self._known[next(iter(self._known))]

    def forget(self, kind: Kind, id: str) -> None:
        with self._lock:
            self._known.pop((kind, id), None)

    def find(self, kind: Kind, ids: Sequence[str]) -> tuple[dict[str, int], list[str]]:
        """The partitions of the ids that are known, and the other ids (each once)."""
        known = self._known
        found = {id: known[kind, id] for id in ids if (kind, id) in known}
        return found, [id for id in dict.fromkeys(ids) if id not in found]

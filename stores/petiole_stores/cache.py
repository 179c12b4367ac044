"""A cache before a store, for its readers: what consistency ``session`` means.

::

    store = ReadCache(open_store(url))

Nothing read through it is older than what was written through it before, nor, where it can change, than ``max_age``.
"""

from __future__ import annotations

import builtins
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from petiole_stores.errors import CorruptionError
from petiole_stores.integrity import damage_of
from petiole_stores.records import Blob, Checkpointed, Run, RunFilter, RunPage
from petiole_stores.store import Store
from petiole_stores.wrapping import (
    EVENTS,
    ITEMS,
    READING,
    READING_EVENTS,
    READING_ITEMS,
    UPKEEP,
    WrappedStore,
)

T = TypeVar("T")

#: Bytes that a cache holds: half of them checkpoints and blobs, half what threads had last.
CACHE_BYTES = 64 * 2**20
#: What changes nothing that is remembered.
_HARMLESS = frozenset({*READING, *ITEMS, *READING_ITEMS, *EVENTS, *READING_EVENTS})
#: What a kept record takes beside its documents, roughly.
_RECORD_BYTES = 1000


class ReadCache(WrappedStore):
    """Another store whose checkpoints, blobs, heads and lists of checkpoints are remembered; for many threads at once.

    Checkpoints by id and blobs never change, except by hand: they are kept while there is room, sound ones only. Heads
    and lists are kept for ``max_age``. Every write through this object makes it forget heads and lists, whichever thread
    they are of, and one that changes or removes checkpoints makes it forget all. A head is also forgotten when a run is
    read that has gone on since. Runs, tasks, items and events are always read anew.

    Parameters
        max_age  for how many seconds others' writes may go unseen
        limit    bytes that are kept at the most
        timer    seconds that pass, for tests
    """

    def __init__(
        self,
        store: Store,
        *,
        max_age: float = 1.0,
        limit: int = CACHE_BYTES,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(store)
        self.max_age = max_age
        self._timer = timer
        self._lock = threading.Lock()
        self._lasting = _Shelf(limit // 2)
        self._passing = _Shelf(limit // 2)
        #: Rises whenever something is forgotten: what was asked for before then must not be put in after.
        self._era = 0

    # ---------------------------------------------------------------- writing

    def around(self, operation: str, call: Callable[[], T]) -> T:
        if operation in _HARMLESS:
            return call()
        try:
            return call()
        finally:  # it may be done even if it failed
            self._forget(lasting=operation in UPKEEP)

    def restore(self, path: str | Path) -> int:
        try:
            return super().restore(path)
        finally:
            self._forget(lasting=True)

    def _forget(self, *, lasting: bool) -> None:
        with self._lock:
            self._era += 1
            self._passing.clear()
            if lasting:
                self._lasting.clear()

    # ---------------------------------------------------------------- reading

    def _head(self, thread_id: str, ns: str) -> Checkpointed | None:
        def read() -> builtins.list[Checkpointed]:
            found = self.store._head(thread_id, ns)
            return [] if found is None else [found]

        return next(iter(self._fresh((thread_id, "head", ns), read)), None)

    def _list_checkpoints(
        self, thread_id: str, ns: str | None, before: int | None, limit: int | None, brief: bool = False
    ) -> builtins.list[Checkpointed]:
        def read() -> builtins.list[Checkpointed]:
            return self.store._list_checkpoints(thread_id, ns, before, limit, brief)

        return [*self._fresh((thread_id, "list", ns, before, limit, brief), read)]

    def _get_checkpoint(self, checkpoint_id: str) -> Checkpointed | None:
        with self._lock:
            known, era = self._lasting.get(checkpoint_id), self._era
        if known is not None:
            found: Checkpointed = known
            return found
        read = self.store._get_checkpoint(checkpoint_id)
        self._keep([] if read is None else [read], era)
        return read

    def _get_blobs(self, thread_id: str, digests: Sequence[str]) -> dict[str, Blob]:
        with self._lock:
            era = self._era
            known = {digest: self._lasting.get((thread_id, digest)) for digest in digests}
        missing = [digest for digest, blob in known.items() if blob is None]
        read = self.store._get_blobs(thread_id, missing) if missing else {}
        sound = [blob for blob in read.values() if _is_sound(blob)]
        with self._lock:
            if self._era == era:
                for blob in sound:
                    self._lasting.put((thread_id, blob.digest), blob, len(blob.data) + _RECORD_BYTES)
        found = {digest: known[digest] or read.get(digest) for digest in digests}
        return {digest: blob for digest, blob in found.items() if blob is not None}

    def _get_run(self, run_id: str) -> Run | None:
        run = self.store._get_run(run_id)
        self._keep_up([] if run is None else [run])
        return run

    def _list_runs(self, filter: RunFilter) -> RunPage:
        page = self.store._list_runs(filter)
        self._keep_up(page.runs)
        return page

    # ---------------------------------------------------------------- within

    def _fresh(
        self, key: tuple[Hashable, ...], read: Callable[[], builtins.list[Checkpointed]]
    ) -> builtins.list[Checkpointed]:
        now = self._timer()
        with self._lock:
            known, era = self._passing.get(key), self._era
        if known is not None and now - known[0] < self.max_age:
            kept: list[Checkpointed] = known[1]
            return kept
        found = read()
        with self._lock:
            if self._era == era:
                size = sum(map(_size, found)) + _RECORD_BYTES
                self._passing.put(key, (now, found), size)  # as old as the question, not the answer
        return found

    def _keep(self, records: Sequence[Checkpointed], era: int) -> None:
        """Remember checkpoints by id; one that is damaged may be mended by somebody else, and is not kept."""
        sound = [record for record in records if record.quarantined is None and damage_of(record) is None]
        with self._lock:
            if self._era == era:
                for record in sound:
                    self._lasting.put(record.checkpoint_id, record, _size(record))

    def _keep_up(self, runs: Sequence[Run]) -> None:
        """Who has seen how far a run is must not see its thread as it was before.

        The first run that is listed of a thread is its newest one there.
        """
        newest: dict[str, str] = {}
        for run in runs:
            if run.checkpoint_id is not None:
                newest.setdefault(run.thread_id, run.checkpoint_id)
        with self._lock:
            behind = {
                key[0]
                for key, (_, found) in self._passing.items()
                if key[0] in newest and all(record.checkpoint_id != newest[key[0]] for record in found)
            }
            if behind:
                self._era += 1
                self._passing.drop(lambda key: key[0] in behind)


class _Shelf:
    """What was used last, at most so many bytes of it."""

    def __init__(self, limit: int) -> None:
        self._limit, self._size = limit, 0
        self._kept: OrderedDict[Any, tuple[Any, int]] = OrderedDict()

    def get(self, key: Hashable) -> Any:
        found = self._kept.get(key)
        if found is None:
            return None
        self._kept.move_to_end(key)
        return found[0]

    def put(self, key: Hashable, value: Any, size: int) -> None:
        """Keep a value in place of the key's old one; one that takes more than half of the room is not kept."""
        self._size -= self._kept.pop(key, (None, 0))[1]
        if size > self._limit // 2:
            return
        self._kept[key] = value, size
        self._size += size
        while self._size > self._limit:
            _, (_, gone) = self._kept.popitem(last=False)
            self._size -= gone

    def items(self) -> builtins.list[tuple[Any, Any]]:
        return [(key, value) for key, (value, _) in self._kept.items()]

    def drop(self, chosen: Callable[[Any], bool]) -> None:
        for key in [key for key in self._kept if chosen(key)]:
            self._size -= self._kept.pop(key)[1]

    def clear(self) -> None:
        self._kept.clear()
        self._size = 0


def _size(record: Checkpointed) -> int:
    documents = (record.state, record.next, record.control, record.metadata)
    return sum(map(len, documents)) + _RECORD_BYTES


def _is_sound(blob: Blob) -> bool:
    try:
        blob.verify()
    except CorruptionError:
        return False
    return True

"""The file of a SQLite store as a whole, and its upkeep: checkpoints by hand, damaged rows, what is old."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from petiole_stores.errors import ConfigurationError
from petiole_stores.events import EventWrite, StoredEvent
from petiole_stores.items import ItemWrite, StoredItem
from petiole_stores.records import Blob, NewCheckpoint, Trimmed
from petiole_stores.serde import Serde
from petiole_stores.sql.revision import fits, is_newer
from petiole_stores.sql.sqlite import checkpoints, claims, deciding, events, items, retention, upkeep
from petiole_stores.sql.sqlite.connection import Connections
from petiole_stores.sql.sqlite.work import Work
from petiole_stores.store import Store, StoreUrl

T = TypeVar("T")


class SQLiteUpkeep(Store):
    """What looks after the file and its rows without running anything."""

    def __init__(self, url: StoreUrl | str, *, serde: Serde | None = None) -> None:
        super().__init__(url, serde=serde)
        self.connections = Connections(self._file(), self.url.options, self.url.shown)

    def _file(self) -> Path:
        """The file that the URL names, as SQLAlchemy reads such URLs."""
        rest = self.url.text.removeprefix("sqlite://").partition("?")[0]
        name = rest.removeprefix("/")
        if not rest.startswith("/") or name in ("", ":memory:"):
            raise ConfigurationError(
                f"store URL {self.url.text!r} names no file: write sqlite:///file.db, sqlite:////absolute/file.db, or "
                "memory:// for a store that is gone with its process"
            )
        return Path(name).absolute()

    # ---------------------------------------------------------------- the file

    def connect(self) -> None:
        """Open the file, made anew where there is none, and check its schema; an empty one waits for ``migrate_schema``.

        Raises StoreUnavailableError when it cannot be opened, SchemaError when its schema is of a newer version.
        """
        found = self.connections.read(upkeep.current)
        if found is not None and is_newer(found):
            fits(found, self.url.shown)

    def close(self) -> None:
        """Close this process's connections; the store opens new ones when it is used again."""
        self.connections.close()

    def migrate_schema(self) -> list[str]:
        """Set up an empty file, or bring an older schema up to date; returns the steps taken."""
        return upkeep.migrate(self.connections)

    def validate(self) -> None:
        """Raise StoreUnavailableError, SchemaError, or CorruptionError when SQLite's quick check finds damage."""
        self.connections.read(lambda db: upkeep.check(db, self.url.shown))

    def backup(self, path: str | Path) -> int:
        """Write the whole store, as of one moment, to a new SQLite file; returns how many checkpoints it has.

        Raises FileExistsError when there is such a file.
        """
        return upkeep.backup(self.connections, path)

    def restore(self, path: str | Path) -> int:
        """Take in what a backup has and this store lacks; returns how many checkpoints the backup has.

        Threads that are not known here come back whole, with runs and tasks; of the others, checkpoints alone.
        """
        return upkeep.restore(self.connections, path)

    # ---------------------------------------------------------------- transactions

    def _work(self, step: Callable[[Work], T], now: float | None, *, lasting: bool = True) -> T:
        """Run one operation in its transaction. Its time is taken once it has the file for itself.

        What tells only who works on what (claims, leases, publishing) need not outlast a power cut, which ends all
        workers of the one machine that may use the file.
        """

        def run(db: sqlite3.Connection) -> T:
            return step(self._begun(db, now))

        return self.connections.write(run, lasting=lasting)

    def _begun(self, db: sqlite3.Connection, now: float | None) -> Work:
        """A transaction that has begun on ``db``, by the store's clock."""
        at = time.time() if now is None else now
        return Work(db, now=at, grace=self.grace, max_backoff=self.max_backoff, max_crashes=self.max_crashes)

    # ---------------------------------------------------------------- checkpoints by hand

    def _save(
        self, checkpoint: NewCheckpoint, thread_id: str, run_id: str | None, at: float, blobs: Sequence[Blob]
    ) -> None:
        self._work(lambda work: checkpoints.save(work, checkpoint, thread_id, run_id, at, blobs), None)

    def _delete(self, checkpoint_id: str) -> bool:
        return self._work(lambda work: checkpoints.delete(work, checkpoint_id), None)

    def _clear(self, thread_id: str) -> bool:
        return self._work(lambda work: checkpoints.clear(work, thread_id), None)

    # ---------------------------------------------------------------- tasks

    def _note(self, task_id: str, token: str, progress: str) -> bool:
        return self._work(lambda work: claims.note(work, task_id, token, progress), None, lasting=False)

    def _drop(self, task_ids: Sequence[str]) -> int:
        return self._work(lambda work: deciding.drop(work, task_ids), None)

    # ---------------------------------------------------------------- damage

    def _quarantine(self, checkpoint_id: str, reason: str) -> bool:
        return self._work(lambda work: checkpoints.quarantine(work, checkpoint_id, reason), None)

    def _replace_blobs(self, thread_id: str, blobs: Sequence[Blob]) -> None:
        self._work(lambda work: checkpoints.replace_blobs(work, thread_id, blobs), None)

    # ---------------------------------------------------------------- age

    def _recent(self, cursor: str, limit: int) -> tuple[list[str], str]:
        return self.connections.read(lambda db: retention.recent(db, cursor, limit))

    def _latest(self) -> str:
        return self.connections.read(
            lambda db: str(db.execute("SELECT coalesce(max(seq), 0) FROM checkpoints").fetchone()[0])
        )

    def _trim(self, thread_id: str, max_checkpoints: int | None) -> Trimmed:
        return self._work(
            lambda work: retention.trim(work, thread_id, max_checkpoints, retention.blobs_of), None
        )

    def _expired(self, ages: Mapping[str, float], limit: int, now: float | None) -> list[str]:
        at = time.time() if now is None else now
        return self.connections.read(lambda db: retention.expired(db, ages, limit, at))

    def _delete_thread(self, thread_id: str) -> bool:
        return self._work(lambda work: retention.delete_thread(work, thread_id), None)

    # ---------------------------------------------------------------- events

    def _append_events(
        self, thread_id: str, run_id: str, events_: Sequence[EventWrite], now: float | None
    ) -> None:
        self._work(lambda work: events.append(work, thread_id, run_id, events_), now, lasting=False)

    def _read_events(self, thread_id: str, after: int, limit: int) -> list[StoredEvent]:
        return self.connections.read(lambda db: events.read(db, thread_id, after, limit))

    def _newest_event(self, thread_id: str) -> int:
        return self.connections.read(lambda db: events.newest(db, thread_id))

    def _purge_events(self, age: float, limit: int, now: float | None) -> int:
        return self._work(lambda work: events.purge(work, age, limit), now, lasting=False)

    # ---------------------------------------------------------------- items

    def _put_items(self, writes: Sequence[ItemWrite], now: float | None) -> list[StoredItem | None]:
        return self._work(lambda work: items.put(work, writes), now)

    def _remove_items(self, prefix: str, limit: int) -> int:
        return self._work(lambda work: items.remove(work, prefix, limit), None)

    def _purge_items(self, limit: int, now: float | None) -> int:
        return self._work(lambda work: items.purge(work, limit), now)

    def _get_items(
        self, keys: Sequence[tuple[str, str]], refresh: bool, now: float | None
    ) -> list[StoredItem | None]:
        at = time.time() if now is None else now
        found = self.connections.read(lambda db: items.get(db, keys, at))
        if refresh and any(item is not None and item.ttl is not None for item in found):
            return self._work(lambda work: items.refresh(work, keys), now, lasting=False)
        return found

    def _search_items(self, prefix: str, limit: int, offset: int, now: float | None) -> list[StoredItem]:
        at = time.time() if now is None else now
        return self.connections.read(lambda db: items.search(db, prefix, limit, offset, at))

    def _list_namespaces(self, prefix: str, after: str, limit: int, now: float | None) -> list[str]:
        at = time.time() if now is None else now
        return self.connections.read(lambda db: items.namespaces(db, prefix, after, limit, at))

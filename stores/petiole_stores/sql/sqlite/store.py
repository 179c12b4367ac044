"""The SQLite store: each operation of the ledger is one transaction on one file."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from petiole_stores.errors import ConfigurationError
from petiole_stores.records import (
    Answer,
    BeatAnswer,
    Blob,
    Checkpointed,
    ClaimAnswer,
    FinishAnswer,
    NewCheckpoint,
    NewRun,
    Outcome,
    QueueBacklog,
    Run,
    RunFilter,
    RunPage,
    SubmitAnswer,
    SweepReport,
    Task,
    TaskRef,
    Worker,
)
from petiole_stores.serde import Serde
from petiole_stores.sql.revision import fits, is_newer
from petiole_stores.sql.sqlite import (
    checkpoints,
    claims,
    deciding,
    finishing,
    reading,
    submission,
    sweeping,
    upkeep,
    workers,
)
from petiole_stores.sql.sqlite.connection import Connections
from petiole_stores.sql.sqlite.work import Work
from petiole_stores.store import Store, StoreUrl

T = TypeVar("T")


class SQLiteStore(Store):
    """``sqlite:///file.db`` (relative) or ``sqlite:////absolute/file.db``: for the processes of one machine.

    The URL's options are listed in :mod:`petiole_stores.sql.sqlite.connection`. The file must not lie on a network
    file system. The store's time is this machine's.
    """

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

    # ---------------------------------------------------------------- the protocol

    def _work(self, step: Callable[[Work], T], now: float | None, *, lasting: bool = True) -> T:
        """Run one operation in its transaction. Its time is taken once it has the file for itself.

        What tells only who works on what (claims, leases, publishing) need not outlast a power cut, which ends all
        workers of the one machine that may use the file.
        """

        def run(db: sqlite3.Connection) -> T:
            at = time.time() if now is None else now
            work = Work(
                db, now=at, grace=self.grace, max_backoff=self.max_backoff, max_crashes=self.max_crashes
            )
            return step(work)

        return self.connections.write(run, lasting=lasting)

    def _submit(self, runs: Sequence[NewRun], now: float | None) -> list[SubmitAnswer]:
        return self._work(lambda work: submission.submit(work, runs), now)

    def _claim(
        self,
        holder: str,
        slot: str,
        wants: Sequence[tuple[str, str]],
        holds: Sequence[str],
        published: Sequence[str],
        now: float | None,
    ) -> list[ClaimAnswer]:
        return self._work(
            lambda work: claims.claim(work, holder, slot, wants, holds, published), now, lasting=False
        )

    def _finish(
        self, holder: str, slot: str, outcomes: Sequence[Outcome], now: float | None
    ) -> list[FinishAnswer]:
        return self._work(lambda work: finishing.finish(work, holder, slot, outcomes), now)

    def _beat(self, worker: Worker, published: Sequence[str], now: float | None) -> BeatAnswer:
        return self._work(lambda work: workers.beat(work, worker, published), now, lasting=False)

    def _release(
        self, holder: str, slots: Sequence[str] | None, crashed: bool, final: bool, now: float | None
    ) -> list[TaskRef]:
        return self._work(
            lambda work: workers.release(work, holder, slots, crashed, final), now, lasting=False
        )

    def _postpone(self, task_ids: Sequence[str], delay: float, now: float | None) -> None:
        self._work(lambda work: sweeping.postpone(work, task_ids, delay), now, lasting=False)

    def _sweep(self, observed: float, now: float | None) -> SweepReport:
        report = self._work(lambda work: sweeping.sweep(work, observed), now, lasting=False)
        report.backlogs = self._backlogs(report.now)
        return report

    def _backlogs(self, now: float | None) -> list[QueueBacklog]:
        at = time.time() if now is None else now
        return self.connections.read(lambda db: sweeping.backlogs(db, at))

    def _due(
        self,
        limit: int,
        queue: str | None,
        priority: str | None,
        published_before: float | None,
        now: float | None,
    ) -> list[TaskRef]:
        return self._work(
            lambda work: sweeping.due(work, limit, queue, priority, published_before), now, lasting=False
        )

    def _cancel(self, run_ids: Sequence[str], reason: str, now: float | None) -> list[Answer]:
        return self._work(lambda work: deciding.cancel(work, run_ids, reason), now)

    def _replay(self, run_id: str, replacements: Sequence[tuple[str, str]], now: float | None) -> Answer:
        return self._work(lambda work: deciding.replay(work, run_id, replacements), now)

    def _resume(self, run_id: str, now: float | None) -> Answer:
        return self._work(lambda work: deciding.resume(work, run_id), now)

    # ---------------------------------------------------------------- reading

    def _holds(self, task_id: str, token: str) -> bool:
        return self.connections.read(lambda db: reading.holds(db, task_id, token))

    def _get_run(self, run_id: str) -> Run | None:
        return self.connections.read(lambda db: reading.get_run(db, run_id))

    def _list_runs(self, filter: RunFilter) -> RunPage:
        return self.connections.read(lambda db: reading.list_runs(db, filter))

    def _list_tasks(self, run_id: str) -> list[Task]:
        return self.connections.read(lambda db: reading.list_tasks(db, run_id))

    def _head(self, thread_id: str, ns: str) -> Checkpointed | None:
        return self.connections.read(lambda db: reading.head(db, thread_id, ns))

    def _get_checkpoint(self, checkpoint_id: str) -> Checkpointed | None:
        return self.connections.read(lambda db: reading.get_checkpoint(db, checkpoint_id))

    def _list_checkpoints(
        self, thread_id: str, ns: str | None, before: int | None, limit: int | None
    ) -> list[Checkpointed]:
        return self.connections.read(lambda db: reading.list_checkpoints(db, thread_id, ns, before, limit))

    def _get_blobs(self, thread_id: str, digests: Sequence[str]) -> dict[str, Blob]:
        return self.connections.read(lambda db: reading.get_blobs(db, thread_id, digests))

    def _list_workers(self) -> list[Worker]:
        return self.connections.read(reading.list_workers)

    def threads(self) -> Iterator[str]:
        """Every thread id that has checkpoints, in order."""
        last = ""
        while found := self.connections.read(lambda db, last=last: reading.threads_after(db, last)):  # type: ignore[misc]
            yield from found
            last = found[-1]

    # ---------------------------------------------------------------- checkpoints by hand

    def _save(
        self, checkpoint: NewCheckpoint, thread_id: str, run_id: str | None, at: float, blobs: Sequence[Blob]
    ) -> None:
        self._work(lambda work: checkpoints.save(work, checkpoint, thread_id, run_id, at, blobs), None)

    def _delete(self, checkpoint_id: str) -> bool:
        return self._work(lambda work: checkpoints.delete(work, checkpoint_id), None)

    def _clear(self, thread_id: str) -> bool:
        return self._work(lambda work: checkpoints.clear(work, thread_id), None)

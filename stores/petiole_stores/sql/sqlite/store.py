"""The SQLite store: each operation of the ledger is one transaction on one file."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager

from petiole_stores.records import (
    Amendment,
    Answer,
    BeatAnswer,
    Blob,
    Checkpointed,
    ClaimAnswer,
    FinishAnswer,
    NewRun,
    Outcome,
    QueueBacklog,
    Resumption,
    Run,
    RunFilter,
    RunPage,
    RunStatus,
    SubmitAnswer,
    SweepReport,
    Task,
    TaskCount,
    TaskFilter,
    TaskPage,
    TaskRef,
    Worker,
)
from petiole_stores.sql.sqlite import (
    amending,
    claims,
    deciding,
    finishing,
    holding,
    listing,
    reading,
    submission,
    sweeping,
    waking,
    workers,
)
from petiole_stores.sql.sqlite.keeping import SQLiteUpkeep
from petiole_stores.sql.sqlite.transaction import SQLiteTransaction
from petiole_stores.store import StoreTransaction


class SQLiteStore(SQLiteUpkeep):
    """``sqlite:///file.db`` (relative) or ``sqlite:////absolute/file.db``: for the processes of one machine.

    The URL's options are listed in :mod:`petiole_stores.sql.sqlite.connection`. The file must not lie on a network
    file system. The store's time is this machine's.
    """

    # ---------------------------------------------------------------- the protocol

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
        lasting = not all(outcome.relaxed for outcome in outcomes)
        return self._work(lambda work: finishing.finish(work, holder, slot, outcomes), now, lasting=lasting)

    def transaction(self) -> AbstractContextManager[StoreTransaction]:
        return SQLiteTransaction(self.connections, lambda db: self._begun(db, self._now()))

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

    def _resume(self, run_id: str, answers: Sequence[Resumption] | None, now: float | None) -> Answer:
        return self._work(lambda work: deciding.resume(work, run_id, answers), now)

    def _amend(self, amendment: Amendment, now: float | None) -> Answer:
        return self._work(lambda work: amending.amend(work, amendment), now)

    def _wake(self, thread_id: str, name: str, now: float | None) -> list[TaskRef]:
        return self._work(lambda work: waking.wake(work, thread_id, name), now)

    def _hold_back(
        self, run_ids: Sequence[str], status: str, kind: str, reason: str, now: float | None
    ) -> list[Answer]:
        return self._work(lambda work: holding.hold_back(work, run_ids, status, kind, reason), now)

    def _let_go(self, run_ids: Sequence[str], status: str, now: float | None) -> list[Answer]:
        return self._work(lambda work: holding.let_go(work, run_ids, status), now)

    # ---------------------------------------------------------------- reading

    def _holds(self, task_id: str, token: str) -> bool:
        return self.connections.read(lambda db: reading.holds(db, task_id, token))

    def _get_run(self, run_id: str) -> Run | None:
        return self.connections.read(lambda db: reading.get_run(db, run_id))

    def _list_runs(self, filter: RunFilter) -> RunPage:
        return self.connections.read(lambda db: listing.list_runs(db, filter))

    def _count_runs(self, filter: RunFilter) -> Mapping[RunStatus, int]:
        return self.connections.read(lambda db: listing.count_runs(db, filter))

    def _get_task(self, task_id: str) -> Task | None:
        return self.connections.read(lambda db: listing.get_task(db, task_id))

    def _list_tasks(self, run_id: str) -> list[Task]:
        return self.connections.read(lambda db: listing.list_tasks(db, run_id))

    def _tasks_page(self, run_id: str, filter: TaskFilter) -> TaskPage:
        return self.connections.read(lambda db: listing.tasks_page(db, run_id, filter))

    def _task_counts(self, run_id: str) -> list[TaskCount]:
        return self.connections.read(lambda db: listing.task_counts(db, run_id))

    def _head(self, thread_id: str, ns: str) -> Checkpointed | None:
        return self.connections.read(lambda db: reading.head(db, thread_id, ns))

    def _get_checkpoint(self, checkpoint_id: str) -> Checkpointed | None:
        return self.connections.read(lambda db: reading.get_checkpoint(db, checkpoint_id))

    def _list_checkpoints(
        self, thread_id: str, ns: str | None, before: int | None, limit: int | None, brief: bool = False
    ) -> list[Checkpointed]:
        return self.connections.read(
            lambda db: reading.list_checkpoints(db, thread_id, ns, before, limit, brief)
        )

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

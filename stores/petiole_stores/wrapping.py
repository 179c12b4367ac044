"""A store before another one: every operation is handed on, with something around it."""

from __future__ import annotations

import builtins
from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

from petiole_stores.events import EventWrite, StoredEvent
from petiole_stores.items import ItemWrite, StoredItem
from petiole_stores.records import (
    Amendment,
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
    Trimmed,
    Worker,
)
from petiole_stores.serde import Serde
from petiole_stores.store import Store, StoreTransaction

T = TypeVar("T")

#: The operations of a store by their public names.
PROTOCOL = (
    "submit", "claim", "finish", "beat", "release", "postpone", "sweep", "due", "cancel", "replay", "resume", "note",
    "amend", "wake", "pause", "unpause", "block", "unblock", "drop",
)  # fmt: skip
UPKEEP = (
    "quarantine",
    "replace_blobs",
    "recent",
    "trim",
    "expired",
    "delete_thread",
    "save",
    "delete",
    "clear",
)
READING = (
    "holds", "get_run", "list_runs", "count_runs", "list_tasks", "tasks_page", "task_counts", "head", "get_checkpoint", "list_checkpoints", "get_blobs",
    "list_workers", "backlogs", "threads",
)  # fmt: skip
EVENTS = ("append_events", "purge_events")
READING_EVENTS = ("read_events", "newest_event")
ITEMS = ("put_items", "remove_items", "purge_items")
READING_ITEMS = ("get_items", "search_items", "list_namespaces")
OTHER = ("connect", "migrate_schema", "validate", "transaction")


class Around(Protocol):
    def __call__(self, operation: str, call: Callable[[], T]) -> T: ...


class WrappedStore(Store):
    """Another store with something around its operations. Clock, grace and all else are the other store's own.

    Operations on several items are one call. Inside a ``transaction`` its ``finish`` is the operation ``transaction``.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.url = store.url

    def __repr__(self) -> str:
        return f"<{type(self).__name__} before {self.store!r}>"

    @abstractmethod
    def around(self, operation: str, call: Callable[[], T]) -> T:
        """Make one call of the other store; ``operation`` is its public name."""

    # ---------------------------------------------------------------- the other store's own

    @property
    def shared(self) -> bool:  # type: ignore[override]
        return self.store.shared

    @property
    def serde(self) -> Serde:
        return self.store.serde

    @serde.setter
    def serde(self, serde: Serde) -> None:
        self.store.serde = serde

    @property
    def clock(self) -> Callable[[], float] | None:
        return self.store.clock

    @clock.setter
    def clock(self, clock: Callable[[], float] | None) -> None:
        self.store.clock = clock

    @property
    def grace(self) -> float:
        return self.store.grace

    @grace.setter
    def grace(self, seconds: float) -> None:
        self.store.grace = seconds

    @property
    def max_backoff(self) -> float:
        return self.store.max_backoff

    @max_backoff.setter
    def max_backoff(self, seconds: float) -> None:
        self.store.max_backoff = seconds

    @property
    def max_crashes(self) -> int:
        return self.store.max_crashes

    @max_crashes.setter
    def max_crashes(self, number: int) -> None:
        self.store.max_crashes = number

    def hint(self, thread_id: str, ids: Iterable[str]) -> None:
        self.store.hint(thread_id, ids)

    def durability(self) -> builtins.list[str]:
        return self.store.durability()

    def connect(self) -> None:
        self.around("connect", self.store.connect)

    def close(self) -> None:
        self.store.close()

    def migrate_schema(self) -> builtins.list[str]:
        return self.around("migrate_schema", self.store.migrate_schema)

    def validate(self) -> None:
        self.around("validate", self.store.validate)

    def backup(self, path: str | Path) -> int:
        return self.store.backup(path)

    def restore(self, path: str | Path) -> int:
        return self.store.restore(path)

    def threads(self) -> Iterator[str]:
        return self.around("threads", self.store.threads)

    @contextmanager
    def transaction(self) -> Iterator[StoreTransaction]:
        with self.store.transaction() as inner:
            yield WrappedTransaction(inner, self.around)

    # ---------------------------------------------------------------- the protocol

    def _submit(self, runs: Sequence[NewRun], now: float | None) -> builtins.list[SubmitAnswer]:
        return self.around("submit", lambda: self.store._submit(runs, now))

    def _claim(
        self,
        holder: str,
        slot: str,
        wants: Sequence[tuple[str, str]],
        holds: Sequence[str],
        published: Sequence[str],
        now: float | None,
    ) -> builtins.list[ClaimAnswer]:
        return self.around("claim", lambda: self.store._claim(holder, slot, wants, holds, published, now))

    def _finish(
        self, holder: str, slot: str, outcomes: Sequence[Outcome], now: float | None
    ) -> builtins.list[FinishAnswer]:
        return self.around("finish", lambda: self.store._finish(holder, slot, outcomes, now))

    def _beat(self, worker: Worker, published: Sequence[str], now: float | None) -> BeatAnswer:
        return self.around("beat", lambda: self.store._beat(worker, published, now))

    def _release(
        self, holder: str, slots: Sequence[str] | None, crashed: bool, final: bool, now: float | None
    ) -> builtins.list[TaskRef]:
        return self.around("release", lambda: self.store._release(holder, slots, crashed, final, now))

    def _postpone(self, task_ids: Sequence[str], delay: float, now: float | None) -> None:
        self.around("postpone", lambda: self.store._postpone(task_ids, delay, now))

    def _sweep(self, observed: float, now: float | None) -> SweepReport:
        return self.around("sweep", lambda: self.store._sweep(observed, now))

    def _due(
        self,
        limit: int,
        queue: str | None,
        priority: str | None,
        published_before: float | None,
        now: float | None,
    ) -> builtins.list[TaskRef]:
        return self.around("due", lambda: self.store._due(limit, queue, priority, published_before, now))

    def _cancel(self, run_ids: Sequence[str], reason: str, now: float | None) -> builtins.list[Answer]:
        return self.around("cancel", lambda: self.store._cancel(run_ids, reason, now))

    def _replay(self, run_id: str, replacements: Sequence[tuple[str, str]], now: float | None) -> Answer:
        return self.around("replay", lambda: self.store._replay(run_id, replacements, now))

    def _resume(self, run_id: str, answers: Sequence[Resumption] | None, now: float | None) -> Answer:
        return self.around("resume", lambda: self.store._resume(run_id, answers, now))

    def _amend(self, amendment: Amendment, now: float | None) -> Answer:
        return self.around("amend", lambda: self.store._amend(amendment, now))

    def _wake(self, thread_id: str, name: str, now: float | None) -> list[TaskRef]:
        return self.around("wake", lambda: self.store._wake(thread_id, name, now))

    def _note(self, task_id: str, token: str, progress: str) -> bool:
        return self.around("note", lambda: self.store._note(task_id, token, progress))

    def _hold_back(
        self, run_ids: Sequence[str], status: str, kind: str, reason: str, now: float | None
    ) -> builtins.list[Answer]:
        name = "pause" if status == "paused" else "block"
        return self.around(name, lambda: self.store._hold_back(run_ids, status, kind, reason, now))

    def _let_go(self, run_ids: Sequence[str], status: str, now: float | None) -> builtins.list[Answer]:
        name = "unpause" if status == "paused" else "unblock"
        return self.around(name, lambda: self.store._let_go(run_ids, status, now))

    def _drop(self, task_ids: Sequence[str]) -> int:
        return self.around("drop", lambda: self.store._drop(task_ids))

    # ---------------------------------------------------------------- upkeep

    def _quarantine(self, checkpoint_id: str, reason: str) -> bool:
        return self.around("quarantine", lambda: self.store._quarantine(checkpoint_id, reason))

    def _replace_blobs(self, thread_id: str, blobs: Sequence[Blob]) -> None:
        self.around("replace_blobs", lambda: self.store._replace_blobs(thread_id, blobs))

    def _latest(self) -> str:
        return self.store._latest()

    def _recent(self, cursor: str, limit: int) -> tuple[builtins.list[str], str]:
        return self.around("recent", lambda: self.store._recent(cursor, limit))

    def _trim(self, thread_id: str, max_checkpoints: int | None) -> Trimmed:
        return self.around("trim", lambda: self.store._trim(thread_id, max_checkpoints))

    def _expired(self, ages: Mapping[str, float], limit: int, now: float | None) -> builtins.list[str]:
        return self.around("expired", lambda: self.store._expired(ages, limit, now))

    def _delete_thread(self, thread_id: str) -> bool:
        return self.around("delete_thread", lambda: self.store._delete_thread(thread_id))

    def _save(
        self, checkpoint: NewCheckpoint, thread_id: str, run_id: str | None, at: float, blobs: Sequence[Blob]
    ) -> None:
        self.around("save", lambda: self.store._save(checkpoint, thread_id, run_id, at, blobs))

    def _delete(self, checkpoint_id: str) -> bool:
        return self.around("delete", lambda: self.store._delete(checkpoint_id))

    def _clear(self, thread_id: str) -> bool:
        return self.around("clear", lambda: self.store._clear(thread_id))

    # ---------------------------------------------------------------- reading

    def _holds(self, task_id: str, token: str) -> bool:
        return self.around("holds", lambda: self.store._holds(task_id, token))

    def _get_run(self, run_id: str) -> Run | None:
        return self.around("get_run", lambda: self.store._get_run(run_id))

    def _list_runs(self, filter: RunFilter) -> RunPage:
        return self.around("list_runs", lambda: self.store._list_runs(filter))

    def _count_runs(self, filter: RunFilter) -> Mapping[RunStatus, int]:
        return self.around("count_runs", lambda: self.store._count_runs(filter))

    def _get_task(self, task_id: str) -> Task | None:
        return self.around("get_task", lambda: self.store._get_task(task_id))

    def _list_tasks(self, run_id: str) -> builtins.list[Task]:
        return self.around("list_tasks", lambda: self.store._list_tasks(run_id))

    def _tasks_page(self, run_id: str, filter: TaskFilter) -> TaskPage:
        return self.around("tasks_page", lambda: self.store._tasks_page(run_id, filter))

    def _task_counts(self, run_id: str) -> builtins.list[TaskCount]:
        return self.around("task_counts", lambda: self.store._task_counts(run_id))

    def _head(self, thread_id: str, ns: str) -> Checkpointed | None:
        return self.around("head", lambda: self.store._head(thread_id, ns))

    def _get_checkpoint(self, checkpoint_id: str) -> Checkpointed | None:
        return self.around("get_checkpoint", lambda: self.store._get_checkpoint(checkpoint_id))

    def _list_checkpoints(
        self, thread_id: str, ns: str | None, before: int | None, limit: int | None, brief: bool = False
    ) -> builtins.list[Checkpointed]:
        return self.around(
            "list_checkpoints", lambda: self.store._list_checkpoints(thread_id, ns, before, limit, brief)
        )

    def _get_blobs(self, thread_id: str, digests: Sequence[str]) -> dict[str, Blob]:
        return self.around("get_blobs", lambda: self.store._get_blobs(thread_id, digests))

    def _list_workers(self) -> builtins.list[Worker]:
        return self.around("list_workers", self.store._list_workers)

    def _backlogs(self, now: float | None) -> builtins.list[QueueBacklog]:
        return self.around("backlogs", lambda: self.store._backlogs(now))

    # ---------------------------------------------------------------- events

    def _append_events(
        self, thread_id: str, run_id: str, events: Sequence[EventWrite], now: float | None
    ) -> None:
        self.around("append_events", lambda: self.store._append_events(thread_id, run_id, events, now))

    def _read_events(self, thread_id: str, after: int, limit: int) -> builtins.list[StoredEvent]:
        return self.around("read_events", lambda: self.store._read_events(thread_id, after, limit))

    def _newest_event(self, thread_id: str) -> int:
        return self.around("newest_event", lambda: self.store._newest_event(thread_id))

    def _purge_events(self, age: float, limit: int, now: float | None) -> int:
        return self.around("purge_events", lambda: self.store._purge_events(age, limit, now))

    # ---------------------------------------------------------------- items

    def _put_items(self, writes: Sequence[ItemWrite], now: float | None) -> builtins.list[StoredItem | None]:
        return self.around("put_items", lambda: self.store._put_items(writes, now))

    def _remove_items(self, prefix: str, limit: int) -> int:
        return self.around("remove_items", lambda: self.store._remove_items(prefix, limit))

    def _purge_items(self, limit: int, now: float | None) -> int:
        return self.around("purge_items", lambda: self.store._purge_items(limit, now))

    def _get_items(
        self, keys: Sequence[tuple[str, str]], refresh: bool, now: float | None
    ) -> builtins.list[StoredItem | None]:
        return self.around("get_items", lambda: self.store._get_items(keys, refresh, now))

    def _search_items(
        self, prefix: str, limit: int, offset: int, now: float | None
    ) -> builtins.list[StoredItem]:
        return self.around("search_items", lambda: self.store._search_items(prefix, limit, offset, now))

    def _list_namespaces(self, prefix: str, after: str, limit: int, now: float | None) -> builtins.list[str]:
        return self.around("list_namespaces", lambda: self.store._list_namespaces(prefix, after, limit, now))


class WrappedTransaction(StoreTransaction):
    """A transaction of the other store, with something around its commit."""

    def __init__(self, inner: StoreTransaction, around: Around) -> None:
        self.inner = inner
        self.around = around
        self.connection: Any = inner.connection

    def finish(self, holder: str, slot: str, outcomes: Sequence[Outcome]) -> Sequence[FinishAnswer]:
        return self.around("transaction", lambda: self.inner.finish(holder, slot, outcomes))

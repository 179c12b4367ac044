"""The memory store's tables: what it keeps, how rows are made and found, and reading them.

The transitions of the protocol are in :mod:`petiole_stores.memory`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from msgspec.structs import replace

from petiole_stores.events import StoredEvent
from petiole_stores.items import StoredItem
from petiole_stores.records import (
    ATTEMPTS_KEPT,
    SETTLED,
    Attempt,
    Blob,
    Checkpointed,
    NewCheckpoint,
    NewTask,
    Run,
    Task,
    TaskRef,
    Worker,
)
from petiole_stores.store import Store, StoreUrl


@dataclass
class Head:
    """The end of one thread's namespace: its newest checkpoint and the superstep that follows it.

    owner: the id of the task that waits for the namespace; ``None`` at the root.
    """

    checkpoint_id: str | None = None
    run_id: str | None = None
    open: int = 0
    width: int = 0
    owner: str | None = None


@dataclass
class Thread:
    active_run: str | None = None
    heads: dict[str, Head] = field(default_factory=dict)
    blobs: dict[str, Blob] = field(default_factory=dict)


class MemoryTables(Store):
    """Threads, runs, tasks, checkpoints and workers in dictionaries, under one lock."""

    shared = False

    def __init__(
        self, url: StoreUrl | str = "memory://", *, clock: Callable[[], float] | None = None
    ) -> None:
        super().__init__(url)
        self.clock = clock
        self._lock = threading.RLock()
        self._seq = 0
        self._threads: dict[str, Thread] = {}
        self._runs: dict[str, Run] = {}
        self._tasks: dict[str, Task] = {}
        self._run_tasks: dict[str, list[str]] = {}
        self._task_numbers: dict[str, int] = {}  # rises with every task that is made
        self._checkpoints: dict[str, Checkpointed] = {}
        self._workers: dict[str, Worker] = {}
        self._events: dict[str, list[StoredEvent]] = {}
        self._items: dict[tuple[str, str], StoredItem] = {}
        self._held: dict[str, set[str]] = {}
        self._batch: set[str] = set()  # what the finish under way ends

    # ---------------------------------------------------------------- reading

    def _holds(self, task_id: str, token: str) -> bool:
        with self._lock:
            task = self._tasks.get(task_id)
            if task is None or task.token != token or task.status not in ("claimed", "ready"):
                return False
            return self._runs[task.run_id].status not in SETTLED

    def _get_run(self, run_id: str) -> Run | None:
        with self._lock:
            run = self._runs.get(run_id)
            return replace(run) if run else None

    def _head(self, thread_id: str, ns: str) -> Checkpointed | None:
        with self._lock:
            thread = self._threads.get(thread_id)
            head = thread.heads.get(ns) if thread else None
            return self._checkpoints.get(head.checkpoint_id) if head and head.checkpoint_id else None

    def _get_checkpoint(self, checkpoint_id: str) -> Checkpointed | None:
        with self._lock:
            return self._checkpoints.get(checkpoint_id)

    def _list_checkpoints(
        self, thread_id: str, ns: str | None, before: int | None, limit: int | None, brief: bool = False
    ) -> list[Checkpointed]:
        with self._lock:
            found = [
                c
                for c in self._checkpoints.values()
                if c.thread_id == thread_id and ns in (None, c.ns) and (before is None or c.seq < before)
            ]
            page = sorted(found, key=lambda c: c.seq, reverse=True)[:limit]
            return [replace(c, state="") for c in page] if brief else page

    def _get_blobs(self, thread_id: str, digests: Sequence[str]) -> dict[str, Blob]:
        with self._lock:
            thread = self._threads.get(thread_id)
            return {d: thread.blobs[d] for d in digests if d in thread.blobs} if thread else {}

    # ---------------------------------------------------------------- checkpoints by hand

    def _save(
        self, checkpoint: NewCheckpoint, thread_id: str, run_id: str | None, at: float, blobs: Sequence[Blob]
    ) -> None:
        with self._lock:
            thread = self._threads.setdefault(thread_id, Thread())
            self._put_blobs(thread, blobs)
            known = self._checkpoints.get(checkpoint.checkpoint_id)
            self._insert_checkpoint(checkpoint, thread_id, run_id, at)
            if known is not None:
                self._checkpoints[checkpoint.checkpoint_id].seq = known.seq
            elif thread.active_run is None:
                thread.heads.setdefault(checkpoint.ns, Head()).checkpoint_id = checkpoint.checkpoint_id

    def threads(self) -> Iterator[str]:
        with self._lock:
            return iter(sorted({checkpoint.thread_id for checkpoint in self._checkpoints.values()}))

    def _delete(self, checkpoint_id: str) -> bool:
        with self._lock:
            gone = self._checkpoints.get(checkpoint_id)
            if gone is None:
                return True
            thread = self._threads[gone.thread_id]
            if thread.active_run is not None:
                return False
            del self._checkpoints[checkpoint_id]
            head = thread.heads.get(gone.ns)
            if head is not None and head.checkpoint_id == checkpoint_id:
                left = self._list_checkpoints(gone.thread_id, gone.ns, None, None)
                parent = next((c.checkpoint_id for c in left if c.checkpoint_id == gone.parent_id), None)
                head.checkpoint_id = parent or (left[0].checkpoint_id if left else None)
            return True

    def _clear(self, thread_id: str) -> bool:
        with self._lock:
            thread = self._threads.get(thread_id)
            if thread is None:
                return True
            if thread.active_run is not None:
                return False
            for checkpoint_id in [
                c.checkpoint_id for c in self._checkpoints.values() if c.thread_id == thread_id
            ]:
                del self._checkpoints[checkpoint_id]
            thread.heads.clear()
            thread.blobs.clear()
            return True

    # ---------------------------------------------------------------- rows

    def _insert_task(
        self, new: NewTask, run: Run, checkpoint_id: str | None, now: float, progress: str | None = None
    ) -> Task:
        ready = new.status == "ready"
        task = Task(
            task_id=new.task_id,
            run_id=run.run_id,
            thread_id=run.thread_id,
            ns=new.ns,
            checkpoint_id=checkpoint_id,
            path=new.path,
            kind=new.kind,
            node=new.node,
            queue=new.queue,
            priority=new.priority,
            status=new.status,
            arg=new.arg,
            timeout=new.timeout,
            progress=progress,
            next_publish=now + self.grace if ready else None,
            published_at=now if ready else None,
            created_at=now,
        )
        self._tasks[task.task_id] = task
        self._run_tasks.setdefault(run.run_id, []).append(task.task_id)
        self._seq += 1
        self._task_numbers[task.task_id] = self._seq
        return task

    def _insert_checkpoint(self, new: NewCheckpoint, thread_id: str, run_id: str | None, now: float) -> None:
        self._seq += 1
        fields = {name: getattr(new, name) for name in new.__struct_fields__}
        stored = Checkpointed(**fields, thread_id=thread_id, run_id=run_id, created_at=now, seq=self._seq)
        self._checkpoints[new.checkpoint_id] = stored

    def _put_blobs(self, thread: Thread, blobs: Iterable[Blob]) -> None:
        for blob in blobs:
            thread.blobs.setdefault(blob.digest, blob)

    def _make_ready(self, task: Task, now: float) -> None:
        task.status, task.run_at = "ready", None
        task.next_publish, task.published_at, task.publishes = now + self.grace, now, 0

    def _give_back(self, task: Task, now: float) -> None:
        """A claim is void: ready again, due at once, on the fast lane."""
        task.status, task.token, task.holder, task.slot = "ready", None, None, None
        task.next_publish, task.recovered = now, True

    def _push_publish(self, task: Task, now: float) -> None:
        task.publishes += 1
        task.published_at = now
        task.next_publish = now + min(self.grace * 2.0 ** min(task.publishes, 30), self.max_backoff)

    def _log_attempt(self, task: Task, outcome: str, now: float, error: str | None = None) -> None:
        if len(task.attempts) >= ATTEMPTS_KEPT:
            del task.attempts[ATTEMPTS_KEPT // 2]
        task.attempts.append(
            Attempt(
                attempt=task.attempt,
                holder=task.holder,
                slot=task.slot,
                claimed_at=task.claimed_at,
                ended_at=now,
                outcome=outcome,  # type: ignore[arg-type]
                error=error,
            )
        )

    def _tasks_of(self, run_id: str) -> list[Task]:
        return [self._tasks[task_id] for task_id in self._run_tasks.get(run_id, ())]

    def _superstep(self, task: Task) -> list[Task]:
        return [
            t
            for t in self._tasks_of(task.run_id)
            if t.ns == task.ns and t.checkpoint_id == task.checkpoint_id
        ]

    def _owner(self, thread_id: str, ns: str) -> Task | None:
        """The task that waits for a namespace; ``None`` for the root."""
        owner = self._threads[thread_id].heads[ns].owner if ns else None
        return self._tasks.get(owner or "")

    def _claims_of(self, holder: str, slots: set[str] | None) -> list[Task]:
        """The tasks whose token is this holder's: claimed, or ready but not yet claimed anew; in id order."""
        held = self._held.get(holder, set())
        for task_id in list(held):
            task = self._tasks.get(task_id)
            if (
                task is None
                or task.holder != holder
                or task.token is None
                or task.status not in ("claimed", "ready")
            ):
                held.discard(task_id)
        return [t for t in map(self._tasks.__getitem__, sorted(held)) if slots is None or t.slot in slots]

    def _ready_refs(self, run_id: str) -> list[TaskRef]:
        return [self._ref(task) for task in self._tasks_of(run_id) if task.status == "ready"]

    def _ref(self, task: Task) -> TaskRef:
        run = self._runs[task.run_id]
        return TaskRef(
            task_id=task.task_id,
            run_id=task.run_id,
            thread_id=task.thread_id,
            queue=task.queue,
            priority="high" if task.recovered else task.priority,
            graph=run.graph,
            node=task.node,
            version=run.version,
        )


RUN_FIELDS = (
    "run_id", "thread_id", "graph", "version", "fingerprint", "input", "base_id", "idempotency_key", "request_digest",
    "config", "metadata",
)  # fmt: skip


def store_time(now: float | None) -> float:
    return time.time() if now is None else now


def copy_task(task: Task) -> Task:
    return replace(task, attempts=list(task.attempts))

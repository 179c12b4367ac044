"""One transaction's view of the ledger: its connection, its time, and the few rows that every operation needs."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from petiole_stores.records import ATTEMPTS_KEPT, Attempt, NewTask, TaskRef
from petiole_stores.sql.sqlite.rows import REF_COLUMNS, json_text, to_attempts, to_ref

#: What is set with a task's claim being over: ready again, due at once, on the fast lane. Takes ``now``.
GIVEN_BACK = "status = 'ready', token = NULL, holder = NULL, slot = NULL, next_publish = ?, recovered = 1"
#: A task becomes ready in its own time. Takes ``now + grace`` and ``now``.
MADE_READY = "status = 'ready', run_at = NULL, next_publish = ?, published_at = ?, publishes = 0"
#: Rows of ``tasks t`` whose token may still finish: claimed, or ready and not yet claimed anew (index ix_tasks_held).
HELD = "t.token IS NOT NULL AND t.status IN ('claimed', 'ready')"

_INSERT_TASK = """
INSERT INTO tasks (
    task_id, run_id, thread_id, ns, checkpoint_id, path, kind, node, queue, priority, status, arg, timeout, token, holder,
    slot, attempt, started, next_publish, published_at, created_at, claimed_at
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_READY_REFS = f"""
SELECT {REF_COLUMNS} FROM tasks t JOIN runs r ON r.run_id = t.run_id
WHERE t.run_id = ? AND t.status = 'ready' ORDER BY t.seq"""
_REF = f"SELECT {REF_COLUMNS} FROM tasks t JOIN runs r ON r.run_id = t.run_id WHERE t.task_id = ?"
_PUBLISHED = """
UPDATE tasks SET publishes = 1, published_at = ?, next_publish = ?
WHERE task_id = ? AND status = 'ready' AND publishes = 0"""
_LOG = "UPDATE tasks SET attempts = ? WHERE task_id = ?"
_TRIED = "SELECT attempt, holder, slot, claimed_at, attempts FROM tasks WHERE task_id = ?"


class Owner(NamedTuple):
    """Whose tasks are inserted."""

    run_id: str
    thread_id: str


class Work:
    """A transaction under way: ``db`` within it, ``now`` its time, and the ledger's settings."""

    def __init__(
        self, db: sqlite3.Connection, *, now: float, grace: float, max_backoff: float, max_crashes: int
    ) -> None:
        self.db, self.now = db, now
        self.grace, self.max_backoff, self.max_crashes = grace, max_backoff, max_crashes
        #: The tasks that the finish under way ends.
        self.ends: frozenset[str] = frozenset()

    @property
    def ready_at(self) -> tuple[float, float]:
        """The values that ``MADE_READY`` takes."""
        return self.now + self.grace, self.now

    def backoff(self, publishes: int) -> float:
        """The ``next_publish`` of a task that has been published so many times again."""
        return self.now + min(self.grace * 2.0 ** min(publishes, 30), self.max_backoff)

    # ---------------------------------------------------------------- tasks

    def insert_tasks(
        self,
        tasks: Iterable[NewTask],
        owner: Owner,
        checkpoint_id: str | None,
        holder: str = "",
        slot: str = "",
    ) -> None:
        """Insert tasks: ready and in the outbox, or interrupted, or claimed by ``holder`` where they bring a token."""
        run_id, thread_id = owner
        publish_at, now = self.ready_at
        rows = []
        for new in tasks:
            claimed = new.token is not None
            out = new.status == "ready" and not claimed
            rows.append((
                new.task_id, run_id, thread_id, new.ns, checkpoint_id, new.path, new.kind, new.node, new.queue,
                new.priority, "claimed" if claimed else new.status, new.arg, new.timeout, new.token,
                holder if claimed else None, slot if claimed else None, int(claimed), int(claimed), publish_at if out else None,
                now if out else None, now, now if claimed else None,
            ))  # fmt: skip
        self.db.executemany(_INSERT_TASK, rows)

    def log_attempt(self, task_id: str, outcome: str, error: str | None = None) -> None:
        """Put the task's current attempt among its earlier ones."""
        attempt, holder, slot, claimed_at, text = self.db.execute(_TRIED, (task_id,)).fetchone()
        attempts = to_attempts(text)
        if len(attempts) >= ATTEMPTS_KEPT:
            del attempts[ATTEMPTS_KEPT // 2]
        attempts.append(
            Attempt(
                attempt=attempt, holder=holder, slot=slot, claimed_at=claimed_at, ended_at=self.now,
                outcome=outcome, error=error,  # type: ignore[arg-type]
            )
        )  # fmt: skip
        self.db.execute(_LOG, (json_text(attempts), task_id))

    def mark_published(self, task_ids: Sequence[str]) -> None:
        """Move the ``next_publish`` of ready tasks that were published for the first time one step on."""
        if task_ids:
            later = self.backoff(1)
            self.db.executemany(_PUBLISHED, [(self.now, later, task_id) for task_id in task_ids])

    # ---------------------------------------------------------------- refs

    def ready_refs(self, run_id: str) -> list[TaskRef]:
        return [to_ref(row) for row in self.db.execute(_READY_REFS, (run_id,))]

    def ref(self, task_id: str) -> TaskRef:
        return to_ref(self.db.execute(_REF, (task_id,)).fetchone())

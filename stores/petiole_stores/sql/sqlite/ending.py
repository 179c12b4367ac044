"""Supersteps, namespaces and runs end; owners of namespaces end with them, and wait for them again."""

from __future__ import annotations

from petiole_stores.records import RunStatus, TaskRef
from petiole_stores.sql.sqlite.submission import retire
from petiole_stores.sql.sqlite.work import MADE_READY, Owner, Work

_COUNT_DOWN = "UPDATE heads SET open = open - 1 WHERE thread_id = ? AND ns = ? RETURNING open, owner"
_BAD_ENDINGS = """
SELECT status, error FROM tasks
WHERE run_id = ? AND checkpoint_id IS ? AND ns = ? AND NOT replaced AND status IN ('failed', 'interrupted', 'cancelled')
ORDER BY path, seq"""
_MAKE_READY = f"UPDATE tasks SET {MADE_READY} WHERE task_id = ?"
_END_OWNER = """
UPDATE tasks SET status = ?, ended_at = ?, error = ? WHERE task_id = ? RETURNING ns, checkpoint_id"""
_INTERRUPT = "UPDATE runs SET status = 'interrupted', reason = NULL WHERE run_id = ?"
_END_RUN = "UPDATE runs SET status = ?, ended_at = ?, error = ?, reason = NULL WHERE run_id = ?"
#: One that fails can be replayed: it bears the error, and nobody holds it.
_END_TASKS = """
UPDATE tasks SET status = :status, ended_at = :now, next_publish = NULL, run_at = NULL,
    error = CASE :status WHEN 'failed' THEN :error ELSE error END,
    token = CASE :status WHEN 'failed' THEN NULL ELSE token END
WHERE run_id = :run_id AND status NOT IN ('done', 'failed', 'cancelled')"""
_CLOSE_HEADS = "UPDATE heads SET open = 0 WHERE thread_id = ? AND run_id = ?"
_STANDING = """
SELECT coalesce(h.open, 0), r.status FROM runs r LEFT JOIN heads h ON h.thread_id = r.thread_id AND h.ns = ?
WHERE r.run_id = ?"""
_COUNT = "UPDATE heads SET open = open + ? WHERE thread_id = ? AND ns = ? RETURNING owner"
_WAIT_AGAIN = """
UPDATE tasks SET status = 'parked', ended_at = NULL, error = NULL, run_at = NULL
WHERE task_id = ? AND status IN ('done', 'failed', 'interrupted', 'cancelled') RETURNING ns"""


class Place:
    """A superstep of one namespace, as the ends of its tasks find and leave it.

    ``waiter`` is the task that owns the namespace (``None``: it is the root, whose end is the run's).
    """

    def __init__(
        self,
        run: Owner,
        ns: str,
        checkpoint_id: str | None,
        waiter: str | None,
        run_status: RunStatus,
        open: int = 0,
    ) -> None:
        self.run = run
        self.ns = ns
        self.checkpoint_id = checkpoint_id
        self.waiter = waiter
        self.run_status = run_status
        self.open = open

    def look_again(self, work: Work) -> None:
        """Take ``open`` and the run's status from the store: an end may have changed them from another level."""
        self.open, self.run_status = work.db.execute(_STANDING, (self.ns, self.run.run_id)).fetchone()


def count_down(work: Work, place: Place) -> tuple[str, list[TaskRef]]:
    """One task of a superstep has ended: take it from ``open``; at zero the namespace may end with it.

    Gives how the superstep has ended (empty: it goes on; ``done``: all went well, it is to be settled), and what to
    publish.
    """
    place.open, _ = work.db.execute(_COUNT_DOWN, (place.run.thread_id, place.ns)).fetchone()
    if place.open != 0:
        return "", []
    ending, error = _verdict(work, place.run, place.ns, place.checkpoint_id)
    if ending == "done":
        return ending, []
    publish = end_namespace(work, place.run, place.waiter, ending, error)
    place.look_again(work)
    return ending, publish


def _verdict(work: Work, run: Owner, ns: str, checkpoint_id: str | None) -> tuple[str, str | None]:
    """How a superstep in which nothing is open has ended, and the error of the first that failed."""
    found = work.db.execute(_BAD_ENDINGS, (run.run_id, checkpoint_id, ns)).fetchall()
    endings = {status for status, _ in found}
    if "failed" in endings:
        return "failed", next(error for status, error in found if status == "failed")
    return next((ending for ending in ("interrupted", "cancelled") if ending in endings), "done"), None


def end_namespace(
    work: Work, run: Owner, waiter: str | None, ending: str, error: str | None = None
) -> list[TaskRef]:
    """What becomes of the run, or of the task that waits for the namespace, and of what is above it.

    ``ending`` is succeeded, failed, interrupted or cancelled. Returns what to publish.
    """
    db = work.db
    while waiter is not None:
        if ending == "succeeded":
            db.execute(_MAKE_READY, (*work.ready_at, waiter))
            return [work.ref(waiter)]
        ns, checkpoint_id = db.execute(_END_OWNER, (ending, work.now, error, waiter)).fetchone()
        left, waiter = db.execute(_COUNT_DOWN, (run.thread_id, ns)).fetchone()
        if left != 0:
            return []
        ending, error = _verdict(work, run, ns, checkpoint_id)
    if ending == "interrupted":
        db.execute(_INTERRUPT, (run.run_id,))
        return []
    return end_run(work, run, ending, error)


def end_run(work: Work, run: Owner, status: str, error: str | None = None) -> list[TaskRef]:
    """Settle a run; the thread's next queued run starts. Returns what to publish."""
    work.db.execute(_END_RUN, (status, work.now, error, run.run_id))
    started = retire(work, run)
    return [] if started is None else work.ready_refs(started)


def end_whole(work: Work, run: Owner, status: str, error: str | None) -> list[TaskRef]:
    """Settle a run that is not over by itself: its open tasks end as it does. Returns what to publish."""
    values = {"run_id": run.run_id, "status": status, "now": work.now, "error": error}
    work.db.execute(_END_TASKS, values)
    work.db.execute(_CLOSE_HEADS, (run.thread_id, run.run_id))
    return end_run(work, run, status, error)


def reopen(work: Work, thread_id: str, ns: str, count: int = 1) -> None:
    """Count tasks that go on, and let the owner of their namespace wait for them again."""
    (waiter,) = work.db.execute(_COUNT, (count, thread_id, ns)).fetchone()
    if waiter is not None:
        wait_again(work, thread_id, waiter)


def wait_again(work: Work, thread_id: str, waiter: str) -> None:
    """An owner that had ended with its namespace waits again, and so do those above it."""
    found = work.db.execute(_WAIT_AGAIN, (waiter,)).fetchone()
    if found is not None:
        reopen(work, thread_id, found[0])

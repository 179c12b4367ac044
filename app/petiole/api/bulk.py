"""Bulk jobs: one action on all runs that match, done in the background, their state kept in the store's items.

Any server process can show a job and cancel it: whoever does the work writes down how far it has come and looks whether
it is still wanted. A job whose process has died is shown as ``lost``; every action may be asked for again, for what is
done already is answered as such.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Literal
from weakref import WeakSet

import msgspec

from petiole.client import Client, Treated
from petiole_stores.errors import ConflictError, NotFoundError, PetioleError, StoreUnavailableError
from petiole_stores.ids import new_id
from petiole_stores.items import NewItem
from petiole_stores.records import Run, RunFilter
from petiole_stores.store import Store
from petiole_workers.active import runs_of

Action = Literal["replay", "cancel", "pause", "unpause", "delete"]

#: Where jobs are kept among the store's items, and for how long, in seconds.
JOBS, WISHES, KEPT = ("petiole", "bulk", "jobs"), ("petiole", "bulk", "wishes"), 7 * 86400.0
#: Runs that are treated between two looks whether the job is still wanted.
BATCH = 50
#: A running job whose process has said nothing for so long, in seconds, is lost.
SILENCE = 60.0
#: Jobs that one process does at once.
WORKERS = 2

log = logging.getLogger(__name__)


class Job(msgspec.Struct, kw_only=True):
    """One bulk job; times are seconds since the epoch."""

    id: str
    action: Action
    by: str
    filter: RunFilter
    reason: str = ""
    status: Literal["running", "done", "cancelled", "failed", "lost"] = "running"
    total: int = 0
    done: int = 0
    already: int = 0
    refused: dict[str, int] = {}
    error: str | None = None
    created_at: float
    beat_at: float
    ended_at: float | None = None


def find_job(store: Store, id: str, now: float) -> Job:
    """Raises NotFoundError."""
    [item] = store.get_items([(JOBS, id)])
    if item is None:
        raise NotFoundError(f"bulk job {id!r} does not exist, or ended more than a week ago")
    return _read(item.value, now)


def list_jobs(store: Store, now: float, limit: int = 50) -> list[Job]:
    """The jobs that were heard of last."""
    return [_read(item.value, now) for item in store.search_items(JOBS, limit=limit)]


def cancel_job(store: Store, id: str, now: float) -> Job:
    """Ask for a job's end: it ends after the runs that it has in hand. Raises NotFoundError and ConflictError."""
    job = find_job(store, id, now)
    if job.status != "running":
        raise ConflictError(f"bulk job {id!r} is {job.status}: only a running one can be cancelled")
    store.put_items([NewItem(WISHES, id, '"cancel"', KEPT)])
    return job


class Jobs:
    """The jobs that this process does, in threads of its own."""

    def __init__(self) -> None:
        self._slots = threading.BoundedSemaphore(WORKERS)
        self._threads: WeakSet[threading.Thread] = WeakSet()

    def close(self, timeout: float) -> None:
        """Wait for the jobs that are under way, all in all so many seconds; what is left then is lost with the process."""
        until = time.monotonic() + timeout
        for thread in [*self._threads]:
            thread.join(max(0.0, until - time.monotonic()))

    def start(
        self,
        client: Client,
        action: Action,
        filter: RunFilter,
        *,
        by: str,
        reason: str,
        may: Callable[[Run], bool],
    ) -> Job:
        """Begin a job and give it as it is at its beginning. The client has to stay open until it ends.

        ``may`` tells whether the thread of a run may be deleted.
        """
        now = client.now()
        total = matching(client.store, filter)
        job = Job(
            id=new_id(),
            action=action,
            by=by,
            filter=filter,
            reason=reason,
            total=sum(total.values()),
            created_at=now,
            beat_at=now,
        )
        _keep(client.store, job)
        thread = threading.Thread(
            target=self._do,
            args=(client, msgspec.structs.replace(job, refused={}), may),
            name=f"bulk-{job.id}",
            daemon=True,
        )
        self._threads.add(thread)
        thread.start()
        return job

    def _do(self, client: Client, job: Job, may: Callable[[Run], bool]) -> None:
        while not self._slots.acquire(timeout=SILENCE / 4):
            self._beat(client, job)
        try:
            self._work(client, job, may)
        except Exception as error:  # nobody else is there to hear of it
            log.exception("bulk job %s failed", job.id)
            job.status, job.error = "failed", f"{type(error).__name__}: {error}"
        finally:
            self._slots.release()
        job.ended_at = client.now()
        self._beat(client, job)

    def _work(self, client: Client, job: Job, may: Callable[[Run], bool]) -> None:
        runs = _before(runs_of(client.store, job.filter), job)
        treated = treat(client, job.action, runs, job.reason, may)
        while batch := [*islice(treated, BATCH)]:
            for one in batch:
                if one.result == "refused":
                    job.refused[one.reason] = job.refused.get(one.reason, 0) + 1
                elif one.result == "done":
                    job.done += 1
                else:
                    job.already += 1
            self._beat(client, job)
            [wish] = client.store.get_items([(WISHES, job.id)])
            if wish is not None:
                job.status = "cancelled"
                return
        job.status = "done"

    def _beat(self, client: Client, job: Job) -> None:
        job.beat_at = client.now()
        for attempt in range(5):
            try:
                _keep(client.store, job)
                return
            except StoreUnavailableError:
                time.sleep(0.2 * 2**attempt)


def matching(store: Store, filter: RunFilter) -> dict[str, int]:
    """How many runs match, by status, those without a run left out."""
    counts = store.count_runs(filter)
    wanted = filter.status or list(counts)
    return {status: count for status, count in counts.items() if status in wanted and count}


def treat(
    client: Client, action: Action, runs: Iterable[Run], reason: str, may: Callable[[Run], bool]
) -> Iterator[Treated]:
    """Do one action to each of these runs, as it is iterated; a refusal does not stop the others."""
    if action == "replay":
        return client.replay_all(runs)
    if action == "cancel":
        return client.cancel_all(runs, reason=reason)
    return (_one(client, action, run, reason, may) for run in runs)


def _one(client: Client, action: Action, run: Run, reason: str, may: Callable[[Run], bool]) -> Treated:
    if action == "delete" and not may(run):
        return Treated(run=run, result="refused", reason="its thread has runs of other graphs, too")
    try:
        if action == "pause":
            changed = client.pause(run.thread_id, run=run.run_id, reason=reason)
        elif action == "unpause":
            changed = client.unpause(run.thread_id, run=run.run_id)
        else:
            changed = client.delete(run.thread_id)
    except StoreUnavailableError:
        raise
    except NotFoundError:
        return Treated(run=run, result="already")
    except PetioleError as error:
        return Treated(run=run, result="refused", reason=_reason(client, action, run, error))
    return Treated(run=run, result="done" if changed else "already")


def _reason(client: Client, action: Action, run: Run, error: PetioleError) -> str:
    """Why, in words that many runs share."""
    if action == "delete":
        return "its thread has an active run"
    found = client.store.get_run(run.run_id)
    return f"it is {found.status}" if found is not None and isinstance(error, ConflictError) else str(error)


def _before(runs: Iterable[Run], job: Job) -> Iterator[Run]:
    """Those that were there when the job began."""
    return (run for run in runs if run.created_at <= job.created_at)


def _keep(store: Store, job: Job) -> None:
    store.put_items([NewItem(JOBS, job.id, msgspec.json.encode(job).decode(), KEPT)])


def _read(value: str, now: float) -> Job:
    job = msgspec.json.decode(value, type=Job)
    if job.status == "running" and now - job.beat_at > SILENCE:
        job.status = "lost"
    return job

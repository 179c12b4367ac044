"""The actions on many runs: a refusal does not stop the others, and whoever asks twice changes nothing more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import msgspec

from petiole.access.seeing import is_thread_seen
from petiole.bulk.job import Action, Job
from petiole.client import Client, Treated
from petiole_stores.errors import ConflictError, NotFoundError, PetioleError, StoreUnavailableError
from petiole_stores.records import Run, RunFilter
from petiole_stores.store import Store

#: Runs that are treated between two looks whether the job is still wanted.
BATCH = 50


def matching(store: Store, filter: RunFilter) -> dict[str, int]:
    """How many runs match, by status, those without a run left out."""
    counts = store.count_runs(filter)
    wanted = filter.status or list(counts)
    return {status: count for status, count in counts.items() if status in wanted and count}


def treat_batch(client: Client, job: Job) -> bool:
    """Treat the next runs of a job, and count them in it; whether more may come."""
    runs, cursor = _next_runs(client.store, job)
    for one in _treated(client, job, runs):
        job.count(one)
    job.cursor = cursor
    job.treated += BATCH if job.wanted.run_ids else len(runs)
    return job.treated < len(job.wanted.run_ids) if job.wanted.run_ids else cursor is not None


def _next_runs(store: Store, job: Job) -> tuple[Sequence[Run], str | None]:
    """Runs to be treated, and the cursor of those after them."""
    if named := job.wanted.run_ids:
        found = [store.get_run(id) for id in named[job.treated : job.treated + BATCH]]
        principal = job.principal()
        return [
            run for run in found if run and principal.sees(graph=run.graph, thread_id=run.thread_id)
        ], None
    page = store.list_runs(msgspec.structs.replace(job.filter, limit=BATCH, cursor=job.cursor))
    return page.runs, page.next


def _treated(client: Client, job: Job, runs: Sequence[Run]) -> Iterator[Treated]:
    action, reason = job.wanted.action, job.wanted.reason
    if action == "replay":
        return client.replay_all(runs)
    if action == "cancel":
        return client.cancel_all(runs, reason=reason)
    principal = job.principal()
    return (
        _one(client, action, run, reason, lambda run: is_thread_seen(client.store, principal, run.thread_id))
        for run in runs
    )


def _one(client: Client, action: Action, run: Run, reason: str, may_delete: Callable[[Run], bool]) -> Treated:
    try:
        if action == "pause":
            changed = client.pause(run.thread_id, run=run.run_id, reason=reason)
        elif action == "unpause":
            changed = client.unpause(run.thread_id, run=run.run_id)
        elif client.store.newest_run(run.thread_id) is None:
            changed = False
        elif not may_delete(run):
            return Treated(run=run, result="refused", reason="its thread has runs of other graphs, too")
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

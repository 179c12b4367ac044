"""Asking for a bulk job, and for its end: both are recorded in the audit log, as is what the job does."""

from __future__ import annotations

from petiole.access.principal import Principal
from petiole.audit.client import AuditedClient
from petiole.bulk.job import Job, Wanted
from petiole.bulk.kept import KeptJobs
from petiole.bulk.treating import matching
from petiole_stores.errors import IdempotencyError, NotFoundError
from petiole_stores.ids import derived_id, new_id


def begin(client: AuditedClient, wanted: Wanted, principal: Principal, key: str | None = None) -> Job:
    """Begin a job, and give it as it is at its beginning; any server of the store does it.

    ``key``: of one key and principal there is one job. Raises IdempotencyError where it was used for something else.
    """
    kept = KeptJobs(client.store)
    id = new_id() if key is None else derived_id("bulk", principal.name, key)
    if key is not None and (known := _known(kept, id, wanted, key)):
        return known
    now = client.now()
    job = Job(
        id=id,
        wanted=wanted,
        origin=client.origin,
        graphs=principal.graphs,
        namespaces=principal.namespaces,
        created_at=now,
        beat_at=now,
    )
    job.total = len(wanted.run_ids) or sum(matching(client.store, job.filter).values())
    details = {"job": id, "action": wanted.action, "total": job.total, "reason": wanted.reason}
    with client.recording("bulk.start", graph=wanted.filter.graph, details=details) as entry:
        is_new = kept.add(job) is job
        entry.result = "done" if is_new else "already"
    return job if is_new else _known(kept, id, wanted, key or "") or job


def cancel(client: AuditedClient, id: str) -> Job:
    """Ask for a job's end: it ends after the runs that it has in hand. Raises NotFoundError and ConflictError."""
    with client.recording("bulk.cancel", details={"job": id}) as entry:
        job = KeptJobs(client.store).cancel(id)
        entry.graph = job.wanted.filter.graph
    return job


def _known(kept: KeptJobs, id: str, wanted: Wanted, key: str) -> Job | None:
    try:
        found = kept.find(id)
    except NotFoundError:
        return None
    if found.wanted != wanted:
        raise IdempotencyError(f"idempotency key {key!r} was used for another bulk job: use a new one")
    return found

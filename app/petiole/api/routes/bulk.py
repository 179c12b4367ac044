"""``/bulk``: one action on all runs that match a filter; a dry run first."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Path, Request

from petiole.api.access import Acting, Operator, Principal, Reader
from petiole.api.answers import errors
from petiole.api.bulk import Job, Jobs, cancel_job, find_job, list_jobs, matching
from petiole.api.encoding import Json
from petiole.api.models.bulk import BulkBody, DryRunOut, FilterBody, JobOut, JobsOut
from petiole.api.seeing import check_text, is_thread_seen, narrowed
from petiole.documents import iso, run_document
from petiole_stores.checks import check_id
from petiole_stores.errors import InputError, NotFoundError
from petiole_stores.records import RunFilter

router = APIRouter(prefix="/api/v1/bulk", tags=["bulk"])

#: Runs that a dry run shows.
SAMPLE = 10

JobPath = Annotated[str, Path(description="The job's id.")]


@router.post(
    "",
    status_code=202,
    operation_id="startBulk",
    summary="Do one thing to all runs that match",
    response_model=None,
    responses={
        200: {"model": DryRunOut, "description": "The dry run: how many match"},
        202: {"model": JobOut, "description": "The job has begun; `Location` is where it is"},
    },
)
def start(body: BulkBody, request: Request, principal: Operator, client: Acting) -> Json:
    """Replay, cancel, pause or unpause runs, or delete their threads. Without `dry_run: false` nothing is changed."""
    check_text("reason", body.reason)
    filter = _filter(principal, body.filter)
    if body.dry_run:
        counts = matching(client.store, filter)
        page = client.store.list_runs(msgspec.structs.replace(filter, limit=SAMPLE))
        return Json(
            {
                "action": body.action,
                "total": sum(counts.values()),
                "counts": counts,
                "sample": [run_document(run) for run in page.runs],
            }
        )
    job = _jobs(request).start(
        client,
        body.action,
        filter,
        by=principal.name,
        reason=body.reason,
        may=lambda run: is_thread_seen(client, principal, run.thread_id),
    )
    return Json(_document(job), 202, {"location": f"/api/v1/bulk/{job.id}"})


@router.get(
    "",
    operation_id="listBulk",
    summary="List bulk jobs",
    response_model=None,
    responses={200: {"model": JobsOut, "description": "Those heard of last come first"}},
)
def list_(principal: Reader, client: Acting) -> Json:
    """The bulk jobs of the last week, as far as the caller sees them."""
    found = list_jobs(client.store, client.now())
    return Json({"items": [_document(job) for job in found if _sees(principal, job)]})


@router.get(
    "/{job_id}",
    operation_id="getBulk",
    summary="Look at a bulk job",
    response_model=None,
    responses={200: {"model": JobOut, "description": "How far it has come"}, **errors(404)},
)
def get(job_id: JobPath, principal: Reader, client: Acting) -> Json:
    """How far a job has come, whichever server does it."""
    return Json(_document(_seen(principal, client.store, client.now(), job_id)))


@router.post(
    "/{job_id}/cancel",
    status_code=202,
    operation_id="cancelBulk",
    summary="Cancel a bulk job",
    response_model=None,
    responses={202: {"model": JobOut, "description": "It will end soon"}, **errors(404, 409)},
)
def cancel(job_id: JobPath, principal: Operator, client: Acting) -> Json:
    """End a job after the runs that it has in hand; what is done stays done."""
    _seen(principal, client.store, client.now(), job_id)
    return Json(_document(cancel_job(client.store, job_id, client.now())), 202)


def _jobs(request: Request) -> Jobs:
    state = request.app.state
    if not hasattr(state, "jobs"):
        state.jobs = Jobs()
    jobs: Jobs = state.jobs
    return jobs


def _filter(principal: Principal, given: FilterBody) -> RunFilter:
    if not given.model_fields_set or not any(getattr(given, name) for name in given.model_fields_set):
        raise InputError(
            "the filter is empty: say which runs are meant (graph, status, tag …), or all of them with since"
        )
    return narrowed(
        principal,
        graph=given.graph,
        status=list(given.status),
        thread_id=given.thread_id,
        tag=given.tag,
        text=given.text,
        error_type=given.error_type,
        since=given.since and given.since.timestamp(),
        until=given.until and given.until.timestamp(),
        limit=100,
        brief=True,
    )


def _sees(principal: Principal, job: Job) -> bool:
    """Whether all runs that a job may touch are his to see."""
    graphs, spaces = set(job.filter.graphs), set(job.filter.namespaces)
    return (not principal.graphs or (bool(graphs) and graphs <= set(principal.graphs))) and (
        not principal.namespaces or (bool(spaces) and spaces <= set(principal.namespaces))
    )


def _seen(principal: Principal, store: Any, now: float, job_id: str) -> Job:
    check_id("job_id", job_id)
    job = find_job(store, job_id, now)
    if not _sees(principal, job):
        raise NotFoundError(f"bulk job {job_id!r} does not exist, or ended more than a week ago")
    return job


def _document(job: Job) -> dict[str, Any]:
    found = msgspec.structs.asdict(job)
    del found["filter"]
    times = {name: iso(found[name]) for name in ("created_at", "beat_at", "ended_at")}
    return found | times

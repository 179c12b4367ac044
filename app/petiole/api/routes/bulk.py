"""``/bulk``: one action on all runs that match a filter; a dry run first."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Header, Path, Request

from petiole.api.access import Operator, Principal, Reader, Recording
from petiole.api.answers import errors
from petiole.api.encoding import Json
from petiole.api.models.bulk import BulkBody, DryRunOut, FilterBody, JobOut, JobsOut
from petiole.api.seeing import check_text, narrowed
from petiole.bulk.asking import begin, cancel
from petiole.bulk.doing import Jobs
from petiole.bulk.job import Job, Wanted
from petiole.bulk.kept import missing
from petiole.bulk.treating import matching
from petiole.documents import job_document, run_document
from petiole_stores.checks import check_id
from petiole_stores.errors import InputError
from petiole_stores.records import RunFilter

router = APIRouter(prefix="/api/v1/bulk", tags=["bulk"])

#: Runs that a dry run shows.
SAMPLE = 10

JobPath = Annotated[str, Path(description="The job's id.")]


Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        max_length=255,
        description="The same key of the same caller gives the same job, however often it is sent.",
    ),
]


async def jobs_of(request: Request) -> Jobs:
    """A dependency: the jobs of this server."""
    jobs: Jobs = request.app.state.jobs
    return jobs


TheJobs = Annotated[Jobs, Depends(jobs_of)]


@router.post(
    "",
    status_code=202,
    operation_id="startBulk",
    summary="Do one thing to all runs that match",
    response_model=None,
    responses={
        200: {"model": DryRunOut, "description": "The dry run: how many match"},
        202: {"model": JobOut, "description": "The job has begun; `Location` is where it is"},
        **errors(409),
    },
)
def start(body: BulkBody, principal: Operator, client: Recording, jobs: TheJobs, key: Key = None) -> Json:
    """Replay, cancel, pause or unpause runs, or delete their threads. Without `dry_run: false` nothing is changed.

    A job survives its server: another one, or the same one started again, goes on with it.
    """
    for name, text in (("Idempotency-Key", key), ("reason", body.reason)):
        check_text(name, text)
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
    wanted = Wanted(action=body.action, filter=filter, reason=body.reason)
    job = begin(client, wanted, principal, key)
    jobs.wake()
    return Json(job_document(job), 202, {"location": f"/api/v1/bulk/{job.id}"})


@router.get(
    "",
    operation_id="listBulk",
    summary="List bulk jobs",
    response_model=None,
    responses={200: {"model": JobsOut, "description": "Those heard of last come first"}},
)
def list_(principal: Reader, jobs: TheJobs) -> Json:
    """The bulk jobs of the last week, as far as the caller sees them."""
    return Json({"items": [job_document(job) for job in jobs.kept.recent() if job.is_seen_by(principal)]})


@router.get(
    "/{job_id}",
    operation_id="getBulk",
    summary="Look at a bulk job",
    response_model=None,
    responses={200: {"model": JobOut, "description": "How far it has come"}, **errors(404)},
)
def get(job_id: JobPath, principal: Reader, jobs: TheJobs) -> Json:
    """How far a job has come, whichever server does it."""
    return Json(job_document(job_seen(jobs, principal, job_id)))


@router.post(
    "/{job_id}/cancel",
    status_code=202,
    operation_id="cancelBulk",
    summary="Cancel a bulk job",
    response_model=None,
    responses={202: {"model": JobOut, "description": "It will end soon"}, **errors(404, 409)},
)
def stop(job_id: JobPath, principal: Operator, client: Recording, jobs: TheJobs) -> Json:
    """End a job after the runs that it has in hand; what is done stays done."""
    job_seen(jobs, principal, job_id)
    return Json(job_document(cancel(client, job_id)), 202)


def job_seen(jobs: Jobs, principal: Principal, job_id: str) -> Job:
    """The job. Raises NotFoundError for one that is not there, or not his to see."""
    check_id("job_id", job_id)
    job = jobs.kept.find(job_id)
    if not job.is_seen_by(principal):
        raise missing(job_id)
    return job


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

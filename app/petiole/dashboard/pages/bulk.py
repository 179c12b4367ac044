"""Actions on many runs: how many it would be, the confirmation, and how far it has come."""

from __future__ import annotations

import math
import shlex
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Request
from starlette.responses import RedirectResponse, Response

from petiole.api.access import Acting, Operator, Reader, Recording
from petiole.api.routes.bulk import TheJobs, job_seen
from petiole.bulk.asking import begin, cancel
from petiole.bulk.job import MOMENT, Action, Wanted
from petiole.client import Client
from petiole.client.run_query import RunQuery, run_filter
from petiole.dashboard import csrf
from petiole.dashboard.csrf import Filled
from petiole.dashboard.rendering import PageRoute, page
from petiole.dashboard.runs_query import RunsQuery
from petiole.dashboard.seeing import limits, visible_run
from petiole_stores.errors import InputError
from petiole_stores.ids import new_id
from petiole_stores.ledger_reads import STATUSES
from petiole_stores.records import SETTLED

router = APIRouter(route_class=PageRoute)

#: The statuses of runs that an action is for.
APPLIES: dict[Action, tuple[str, ...]] = {
    "replay": ("failed",),
    "cancel": tuple(status for status in STATUSES if status not in SETTLED),
}
#: Runs that may be named one by one in one form.
MOST = 1000


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What a form asks for: an action on the runs that are named, or on all that match."""

    action: Action
    query: RunsQuery
    all: bool
    ids: tuple[str, ...] = ()
    reason: str = ""

    @classmethod
    def of(cls, form: Filled) -> Choice:
        """A dependency. Raises InputError where no run or no such action is named."""
        action, ids = str(form.get("action", "")), tuple(map(str, form.getlist("run")))
        if action not in APPLIES:
            raise InputError(f"there is no action {action!r} on many runs: take {' or '.join(APPLIES)}")
        everything = form.get("all") == "1"
        if not everything and not ids:
            raise InputError("no run is selected: tick some, or all that match")
        if len(ids) > MOST:
            raise InputError(f"{len(ids)} runs are named: at most {MOST}, or take all that match")
        return cls(
            action=action,
            query=RunsQuery.of(form),
            all=everything,
            ids=() if everything else ids,
            reason=str(form.get("reason", "")),
        )

    @property
    def statuses(self) -> tuple[str, ...]:
        """Of the statuses that the list shows, those that the action is for."""
        return tuple(one for one in APPLIES[self.action] if not self.query.status or one in self.query.status)


Chosen = Annotated[Choice, Depends(Choice.of)]


@router.post("/bulk", dependencies=[Depends(csrf.checked)])
def ask(request: Request, client: Acting, operator: Operator, choice: Chosen) -> Response:
    """How many runs it would be: nothing is changed yet."""
    seen = client.now() + MOMENT
    if choice.all:
        found = client.count_runs(**_narrowed(client, operator, choice, seen))
        counts = {str(status): number for status, number in found.items()}
    else:
        runs = [visible_run(client, operator, id) for id in choice.ids]
        counts = {str(status): sum(run.status == status for run in runs) for status in STATUSES}
    applies = choice.statuses if choice.all else APPLIES[choice.action]
    return page(
        request,
        "bulk.html",
        place="runs",
        choice=choice,
        seen=seen,
        number=sum(counts.get(status, 0) for status in applies),
        matching=sum(counts[one] for one in counts if not choice.query.status or one in choice.query.status),
        command=_command(choice),
        key=new_id(),
    )


@router.post("/bulk/start", dependencies=[Depends(csrf.checked)])
def start(client: Recording, operator: Operator, choice: Chosen, form: Filled, jobs: TheJobs) -> Response:
    """Begin; the page of the job shows how far it has come. The same form sent twice begins it once."""
    try:
        seen = float(str(form.get("seen", "")))
    except ValueError:
        seen = math.nan
    if not math.isfinite(seen):
        raise InputError("the form is not complete: choose the runs again")
    filter = run_filter(**_narrowed(client, operator, choice, seen) | RunQuery(status=choice.statuses))
    named = [visible_run(client, operator, id) for id in choice.ids]
    ids = [run.run_id for run in named if run.status in APPLIES[choice.action]]
    if not (choice.statuses if choice.all else ids):
        raise InputError(f"there is nothing to {choice.action}: none of these runs is {_either(choice)}")
    wanted = Wanted(action=choice.action, filter=filter, run_ids=ids, reason=choice.reason)
    key = str(form.get("key", "")) or None
    job = begin(client, wanted, operator, key and f"form {key}")
    jobs.wake()
    return RedirectResponse(f"/bulk/{job.id}", 303)


@router.get("/bulk")
def jobs_(request: Request, reader: Reader, jobs: TheJobs) -> Response:
    """The jobs of the last week."""
    seen = [job for job in jobs.kept.recent() if job.is_seen_by(reader)]
    return page(request, "bulk_jobs.html", place="runs", jobs=seen)


@router.get("/bulk/{job_id}")
def job(request: Request, reader: Reader, job_id: str, jobs: TheJobs) -> Response:
    """How far a job has come, or how it ended; any server knows it."""
    return page(request, "bulk_job.html", place="runs", job=job_seen(jobs, reader, job_id))


@router.post("/bulk/{job_id}/cancel", dependencies=[Depends(csrf.checked)])
def stop(client: Recording, operator: Operator, job_id: str, jobs: TheJobs) -> Response:
    """End a job after the runs that it has in hand."""
    job_seen(jobs, operator, job_id)
    cancel(client, job_id)
    return RedirectResponse(f"/bulk/{job_id}", 303)


def _narrowed(client: Client, operator: Operator, choice: Choice, seen: float) -> RunQuery:
    """The runs that were there when the reader chose, and no later ones."""
    narrowed = choice.query.narrowed(seen) | limits(operator)
    if narrowed.get("until") is None:
        narrowed["until"] = seen
    return narrowed


def _command(choice: Choice) -> str:
    """The command that does the same to all that match; nothing for single runs."""
    if not choice.all:
        return ""
    return shlex.join(["petiole", "run", choice.action, *choice.query.arguments(), "--yes"])


def _either(choice: Choice) -> str:
    return " or ".join(APPLIES[choice.action])

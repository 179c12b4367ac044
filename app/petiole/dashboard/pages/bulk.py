"""Actions on many runs: how many it would be, the confirmation, and how far it has come."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Request
from starlette.responses import RedirectResponse, Response

from petiole.api.access import Acting, Operator
from petiole.client import Client
from petiole.client.run_query import RunQuery
from petiole.dashboard import csrf
from petiole.dashboard.bulk_jobs import Action, Jobs
from petiole.dashboard.csrf import Filled
from petiole.dashboard.rendering import PageRoute, page
from petiole.dashboard.runs_query import RunsQuery
from petiole.dashboard.seeing import limits, visible_run
from petiole_stores.errors import InputError, NotFoundError
from petiole_stores.ledger_reads import STATUSES
from petiole_stores.records import SETTLED, Run

router = APIRouter(route_class=PageRoute)

#: The statuses of runs that an action is for.
APPLIES: dict[Action, tuple[str, ...]] = {
    "replay": ("failed",),
    "cancel": tuple(status for status in STATUSES if status not in SETTLED),
}
#: Runs that may be named one by one in one form.
MOST = 1000
#: What is submitted in the very moment of the choice is of it.
MOMENT = 0.001


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
    )


@router.post("/bulk/start", dependencies=[Depends(csrf.checked)])
def start(request: Request, client: Acting, operator: Operator, choice: Chosen, form: Filled) -> Response:
    """Begin; the page of the job shows how far it has come."""
    try:
        seen, total = float(str(form.get("seen", ""))), int(str(form.get("total", "")))
    except ValueError:
        seen, total = math.nan, 0
    if not math.isfinite(seen):
        raise InputError("the form is not complete: choose the runs again")
    narrowed = _narrowed(client, operator, choice, seen)
    if choice.all:
        runs: Iterable[Run] = client.list_runs(**narrowed | RunQuery(status=choice.statuses, brief=True))
        if not choice.statuses:
            runs = ()
    else:
        named = [visible_run(client, operator, id) for id in choice.ids]
        runs = [run for run in named if run.status in APPLIES[choice.action]]
    act = (
        (lambda: client.replay_all(runs))
        if choice.action == "replay"
        else (lambda: client.cancel_all(runs, reason=choice.reason))
    )
    job = _jobs(request).start(operator.name, choice.action, total, act)
    return RedirectResponse(f"/bulk/{job.job_id}", 303)


@router.get("/bulk/{job_id}")
def job(request: Request, operator: Operator, job_id: str) -> Response:
    """How far a job has come, or how it ended."""
    found = _jobs(request).get(job_id)
    if found is None or found.owner != operator.name:
        raise NotFoundError(
            f"job {job_id!r} is not known: this server has forgotten it, or was started since"
        )
    return page(request, "bulk_job.html", place="runs", job=found)


def _jobs(request: Request) -> Jobs:
    """The jobs of this server."""
    jobs: Jobs | None = getattr(request.app.state, "bulk_jobs", None)
    if jobs is None:
        jobs = request.app.state.bulk_jobs = Jobs()
    return jobs


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

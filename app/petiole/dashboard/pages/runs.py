"""The list of runs: live, narrowed by its address, read page by page."""

from __future__ import annotations

import shlex
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from petiole.api.access import Acting, Reader
from petiole.client.reasons import reason_of
from petiole.client.run_query import RunQuery
from petiole.dashboard.rendering import PageRoute, page
from petiole.dashboard.runs_query import PERIODS, RunsQuery, query_of
from petiole.dashboard.seeing import limits
from petiole_stores.ledger_reads import STATUSES
from petiole_stores.records import Run
from petiole_workers.failure import parse_failure

router = APIRouter(route_class=PageRoute)

#: Runs of one page.
PAGE = 50


class Row(NamedTuple):
    """A run, and what there is to say of it beside its status."""

    run: Run
    note: str
    starts: float | None  #: when one that has not begun may begin


@router.get("/")
def runs(
    request: Request,
    client: Acting,
    reader: Reader,
    query: Annotated[RunsQuery, Depends(query_of)],
    cursor: str | None = None,
) -> Response:
    """The list."""
    asked = query.narrowed(client.now()) | limits(reader) | RunQuery(brief=True)
    found = client.runs_page(**asked, limit=PAGE, cursor=cursor)
    counts = client.count_runs(**asked) if found.counts is None else found.counts
    return page(
        request,
        "runs.html",
        place="runs",
        query=query,
        cursor=cursor,
        next=found.next,
        rows=[Row(run, note_of(run), _starts(run)) for run in found.runs],
        statuses=STATUSES,
        counts=counts,
        matching=sum(
            number for status, number in counts.items() if not query.status or status in query.status
        ),
        graphs=_graphs(client, reader),
        periods=PERIODS,
        command=" ".join(["petiole run list", *map(shlex.quote, query.arguments())]),
    )


def note_of(run: Run) -> str:
    """Why a run failed or is held back, in a line."""
    if run.reason:
        return reason_of(run)
    failure = parse_failure(run.error)
    if failure is None:
        return ""
    where = f"{failure.node}: " if failure.node else ""
    if run.status == "cancelled":
        return failure.message
    first = failure.message.partition("\n")[0]
    return f"{where}{failure.type.rpartition('.')[2]}: {first}"


def _starts(run: Run) -> float | None:
    return run.run_at if run.status == "waiting" and run.started_at is None else None


def _graphs(client: Any, reader: Reader) -> list[str]:
    """Names of the graphs that workers serve, to choose from."""
    names = {name for worker in client.workers() for name in worker.graphs}
    return sorted(name for name in names if reader.sees(graph=name))

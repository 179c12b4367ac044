"""What the nodes of a run have logged."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request
from starlette.responses import Response

from petiole.client.logs import LogPage
from petiole.client.naming import graphs_of
from petiole.dashboard.pages.run import View
from petiole.dashboard.rendering import PageRoute, page
from petiole.dashboard.run_view import RunView

router = APIRouter(route_class=PageRoute)

#: Records of one page, how often it is filled up while the events that were looked at had few of them, and nodes to choose from.
PAGE, LOOKS, NODES = 200, 10, 12


@router.get("/runs/{run_id}/logs")
def logs(
    request: Request,
    view: View,
    level: Literal["", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = "",
    node: str = "",
    task_id: str = "",
    cursor: str | None = None,
) -> Response:
    """Records in the order in which they were kept, of one node or task and from one level on if that is asked for."""
    return page(
        request,
        "logs.html",
        place="runs",
        tab="logs",
        view=view,
        run=view.run,
        found=found_logs(
            view, level=level or None, node=node or None, task_id=task_id or None, cursor=cursor
        ),
        level=level,
        node=node,
        task_id=task_id,
        cursor=cursor,
        nodes=_nodes(view),
    )


def found_logs(
    view: RunView,
    *,
    level: str | None = None,
    node: str | None = None,
    task_id: str | None = None,
    cursor: str | None = None,
) -> LogPage:
    """One page of the run's records."""
    client, run_id = view.client, view.run.run_id
    found = client.logs_page(run_id, level=level, node=node, task_id=task_id, limit=PAGE, cursor=cursor)
    for _ in range(LOOKS):
        if found.next is None or len(found.logs) == PAGE:
            break
        more = client.logs_page(
            run_id, level=level, node=node, task_id=task_id, limit=PAGE - len(found.logs), cursor=found.next
        )
        found = LogPage(logs=[*found.logs, *more.logs], next=more.next, after=more.after)
    return found


def _nodes(view: RunView) -> list[str]:
    """The nodes to choose from, by the names that they have here; none where there are too many."""
    named = dict.fromkeys(
        "/".join(filter(None, (graphs_of(count.ns), count.node)))
        for count in view.counts
        if count.kind == "node"
    )
    return [*named] if 1 < len(named) <= NODES else []

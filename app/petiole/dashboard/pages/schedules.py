"""Schedules: when they fire next, what came of them last; pause, unpause, trigger."""

from __future__ import annotations

from urllib.parse import quote

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from petiole.api.access import Acting, Operator, Principal, Reader
from petiole.dashboard.csrf import Filled
from petiole.dashboard.rendering import PageRoute, page
from petiole.documents import timing_text
from petiole_stores.errors import InputError, NotFoundError
from petiole_workers.schedules.schedule import Schedule

router = APIRouter(route_class=PageRoute)


@router.get("/schedules")
def schedules(request: Request, client: Acting, reader: Reader) -> Response:
    """All schedules, by name."""
    found = [(one, timing_text(one.timing)) for one in client.list_schedules() if _sees(reader, one)]
    damaged = {} if reader.graphs or reader.namespaces else client.damaged_schedules()
    return page(request, "schedules.html", place="schedules", schedules=found, damaged=damaged)


@router.post("/schedules/{name}")
def act(client: Acting, operator: Operator, form: Filled, name: str) -> Response:
    """``action``: ``pause``, ``unpause`` or ``trigger``, which leads to the run."""
    if not _sees(operator, client.get_schedule(name)):
        raise NotFoundError(f"there is no schedule {name!r}")
    action = form.get("action")
    if action == "trigger":
        return RedirectResponse(f"/runs/{quote(client.trigger_schedule(name).run_id, safe='')}", 303)
    if action == "pause":
        client.pause_schedule(name)
    elif action == "unpause":
        client.unpause_schedule(name)
    else:
        raise InputError(f"there is no action {action!r}: take pause, unpause or trigger")
    return RedirectResponse("/schedules", 303)


def _sees(who: Principal, schedule: Schedule) -> bool:
    """New threads are of no namespace, so who is limited to some has no schedule of those."""
    own = schedule.thread_id is not None or not who.namespaces
    return own and who.sees(graph=schedule.graph, thread_id=schedule.thread_id)

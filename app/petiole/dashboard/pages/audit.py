"""The audit log: who changed what, when and from where; for administrators."""

from __future__ import annotations

import shlex

from fastapi import APIRouter, Request
from starlette.responses import Response

from petiole.api.access import Admin, Recording
from petiole.api.routes.audit import is_his
from petiole.audit.log import Query
from petiole.dashboard.rendering import PageRoute, page

router = APIRouter(route_class=PageRoute)


@router.get("/audit")
def audit(
    request: Request,
    client: Recording,
    admin: Admin,
    actor: str = "",
    action: str = "",
    thread: str = "",
    cursor: str | None = None,
) -> Response:
    """One page, the newest first."""
    query = Query(actor=actor or None, action=action or None, thread_id=thread or None)
    found = client.audit.page(query, cursor=cursor, visible=lambda entry: is_his(admin, entry))
    options = [("--actor", actor), ("--action", action), ("--thread", thread)]
    given = [part for option, value in options if value for part in (option, value)]
    return page(
        request,
        "audit.html",
        place="audit",
        entries=found.entries,
        next=found.next,
        cursor=cursor,
        query={"actor": actor, "action": action, "thread": thread},
        narrow=bool(given),
        command=shlex.join(["petiole", "audit", "list", *given]),
    )

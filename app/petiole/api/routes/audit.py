"""``/api/v1/audit``: who changed what, for administrators."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends
from fastapi import Query as Parameter
from pydantic import AwareDatetime, BaseModel
from starlette.responses import StreamingResponse

from petiole.access.principal import Principal
from petiole.api.access import Admin, Recording
from petiole.audit.entry import Entry
from petiole.audit.log import Query
from petiole.documents import audit_document

router = APIRouter(prefix="/api/v1/audit", tags=["audit"])


class AuditEntry(BaseModel):
    """One change, or one that was refused."""

    id: str
    at: str
    actor: str
    via: Literal["api", "dashboard", "cli"]
    address: str
    user_agent: str
    action: str
    result: Literal["done", "already", "refused", "failed"]
    reason: str
    graph: str | None
    thread_id: str | None
    run_id: str | None
    before: dict[str, Any]
    after: dict[str, Any]
    details: dict[str, Any]


class AuditPage(BaseModel):
    """Changes, the newest first. A page may have less than `limit`, even none, and a `next` one all the same."""

    items: list[AuditEntry]
    next: str | None


def _asked(
    actor: Annotated[str | None, Parameter(description="By this actor: `key:ID`, `cli:USER@HOST`.")] = None,
    action: Annotated[
        str | None, Parameter(description="`run.cancel`, or `run` for all that begin so.")
    ] = None,
    thread_id: Annotated[str | None, Parameter(description="Of this thread.")] = None,
    result: Annotated[Literal["done", "already", "refused", "failed"] | None, Parameter()] = None,
    since: Annotated[AwareDatetime | None, Parameter(description="At or after.")] = None,
    until: Annotated[AwareDatetime | None, Parameter(description="Before.")] = None,
) -> Query:
    return Query(
        actor=actor,
        action=action,
        thread_id=thread_id,
        result=result,
        since=_seconds(since),
        until=_seconds(until),
    )


Asked = Annotated[Query, Depends(_asked)]


@router.get("", summary="List changes, newest first", operation_id="list_audit")
def list_audit(
    who: Admin,
    client: Recording,
    query: Asked,
    limit: Annotated[int, Parameter(ge=1, le=1000)] = 100,
    cursor: Annotated[str | None, Parameter(description="The `next` of the page before.")] = None,
) -> AuditPage:
    """What was changed, or refused: by whom, when, from where, with what before and after."""
    page = client.audit.page(query, limit=limit, cursor=cursor, visible=lambda entry: is_his(who, entry))
    return AuditPage(items=[AuditEntry(**audit_document(entry)) for entry in page.entries], next=page.next)


@router.get(
    "/export",
    summary="Export changes as JSON lines",
    operation_id="export_audit",
    response_class=StreamingResponse,
    responses={
        200: {
            "content": {"application/x-ndjson": {"schema": {"type": "string"}}},
            "description": "One change a line, the newest first.",
        }
    },
)
def export_audit(who: Admin, client: Recording, query: Asked) -> StreamingResponse:
    """All of it, as JSON lines."""

    def lines() -> Iterator[str]:
        for entry in client.audit.all(query):
            if is_his(who, entry):
                yield json.dumps(audit_document(entry), ensure_ascii=False) + "\n"

    return StreamingResponse(lines(), media_type="application/x-ndjson")


def is_his(who: Principal, entry: Entry) -> bool:
    """Whether somebody may see an entry: who is limited sees what is of his graphs and threads, and nothing of no thread."""
    if not who.graphs and not who.namespaces:
        return True
    if (who.graphs and entry.graph is None) or (who.namespaces and entry.thread_id is None):
        return False
    return who.sees(graph=entry.graph, thread_id=entry.thread_id)


def _seconds(at: datetime | None) -> float | None:
    return None if at is None else at.timestamp()

"""``/runs/{run_id}/export`` and ``/runs/import``: a thread as one JSON file."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request
from pydantic import BaseModel

from petiole.api.access import Acting, Operator, Principal, Reader
from petiole.api.answers import errors
from petiole.api.encoding import Json
from petiole.api.seeing import RunPath, check_thread_free, graph_seen, run_seen, thread_seen
from petiole.client import Client, thread_file
from petiole_stores.ids import new_id

router = APIRouter(prefix="/api/v1/runs", tags=["transfer"])


class ImportedOut(BaseModel):
    """What an import has made; without a run where the exported one has nothing to go on with."""

    thread_id: str
    run_id: str | None
    checkpoints: int


FILE: dict[str, Any] = {
    "type": "object",
    "description": "An exported thread, format 1: see the documentation of `petiole run export`.",
    "required": [
        "format",
        "version",
        "thread_id",
        "run_id",
        "runs",
        "tasks",
        "checkpoints",
        "blobs",
        "digest",
    ],
    "properties": {"format": {"const": "petiole-thread"}, "version": {"type": "integer"}},
}


@router.get(
    "/{run_id}/export",
    operation_id="exportRun",
    summary="Export a run's thread as one file",
    response_model=None,
    responses={
        200: {"description": "The file", "content": {"application/json": {"schema": FILE}}},
        **errors(404),
    },
)
def export(run_id: RunPath, principal: Reader, client: Acting) -> Json:
    """The thread with its runs, tasks, checkpoints and values. Of an encrypted store they leave it in the clear: that takes
    the scope `admin`."""
    run = run_seen(client, principal, run_id)
    thread_seen(client, principal, run.thread_id)
    _check_clear(client, principal)
    text = client.export_thread(run.thread_id, run=run.run_id)
    name = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in run.run_id)
    return _File(text, headers={"content-disposition": f'attachment; filename="petiole-{name}.json"'})


@router.post(
    "/import",
    status_code=201,
    operation_id="importRun",
    summary="Import an exported thread",
    response_model=None,
    responses={201: {"model": ImportedOut, "description": "It is there, its run paused"}, **errors(404, 409)},
    openapi_extra={
        "requestBody": {"required": True, "content": {"application/json": {"schema": FILE}}},
    },
)
async def import_(
    request: Request,
    principal: Operator,
    client: Acting,
    thread_id: Annotated[
        str | None, Query(min_length=1, max_length=255, description="Nothing: a new one.")
    ] = None,
) -> Json:
    """Bring an exported thread in under a new id; its run is paused where it stood, and `unpause` lets it run."""
    from starlette.concurrency import run_in_threadpool

    return await run_in_threadpool(_import, client, principal, await request.body(), thread_id)


def _import(client: Client, principal: Principal, text: bytes, thread_id: str | None) -> Json:
    file = thread_file.decode(text)
    for run in file.runs:
        graph_seen(principal, run.graph)
    if thread_id is None and principal.namespaces:
        thread_id = f"{principal.namespaces[0]}:{new_id()}"
    if thread_id is not None:
        check_thread_free(client, principal, thread_id)
    made = client.import_thread(text, thread_id=thread_id)
    headers = {"location": f"/api/v1/runs/{made.run_id}"} if made.run_id else None
    return Json(made._asdict(), 201, headers)


def _check_clear(client: Client, principal: Principal) -> None:
    if client.store.serde.encrypts and not principal.has("admin"):
        raise HTTPException(
            403,
            "this store is encrypted, and an export holds its values in the clear: that needs the scope 'admin'",
        )


class _File(Json):
    def render(self, content: bytes) -> bytes:
        return content

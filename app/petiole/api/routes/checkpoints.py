"""``/threads/{thread_id}/checkpoints`` and ``/checkpoints/{checkpoint_id}``: checkpoints looked at and kept by hand."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query

from petiole.api.access import Acting, Operator, Principal, Reader
from petiole.api.answers import errors, typed
from petiole.api.encoding import Json
from petiole.api.models.states import CheckpointOut, CheckpointsOut, ClearedOut, SaveBody, SavedOut
from petiole.api.models.threads import DeletedOut
from petiole.api.seeing import (
    ThreadPath,
    check_text,
    check_thread_free,
    checkpoint_seen,
    graph_given,
    thread_seen,
)
from petiole.api.values import InValues
from petiole.client import Client
from petiole.state_documents import checkpoint_document
from petiole_stores.checks import check_id
from petiole_stores.errors import NotFoundError

router = APIRouter(prefix="/api/v1", tags=["checkpoints"])

CheckpointPath = Annotated[str, Path(description="The checkpoint's id.")]


@router.get(
    "/threads/{thread_id:path}/checkpoints",
    operation_id="listCheckpoints",
    summary="List a thread's checkpoints without its tasks",
    response_model=None,
    responses={**typed(CheckpointsOut, text="One page"), **errors(404)},
)
def list_(
    thread_id: ThreadPath,
    principal: Reader,
    client: Acting,
    values: InValues,
    ns: Annotated[str, Query(description="Of this namespace; empty: the root's.")] = "",
    subgraphs: Annotated[bool, Query(description="Of every namespace.")] = False,
    before: Annotated[str | None, Query(description="A checkpoint's id: only older ones.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 20,
) -> Json:
    """Checkpoints, newest first, each with its state and metadata."""
    thread_seen(client, principal, thread_id)
    check_text("ns", ns)
    bound = None
    if before is not None:
        checkpoint_seen(client, principal, thread_id, before)
        record = client.store.get_checkpoint(before)
        bound = record.seq if record else None
    store = client.store
    records = store.list_checkpoints(thread_id, ns=None if subgraphs else ns, before=bound, limit=limit)
    page = client.typed(lambda: [store.from_record(record) for record in records])
    items = [checkpoint_document(point, values.out) for point in page]
    return values.answer({"items": items, "next": page[-1].id if len(page) == limit else None})


@router.post(
    "/threads/{thread_id:path}/checkpoints",
    status_code=201,
    operation_id="saveCheckpoint",
    summary="Keep a state made by hand",
    response_model=None,
    responses={201: {"model": SavedOut, "description": "It is the thread's newest"}, **errors(404, 409)},
)
def save(
    thread_id: ThreadPath, body: SaveBody, principal: Operator, client: Acting, values: InValues
) -> Json:
    """Keep a state as the thread's newest checkpoint; no reducer or router is asked.

    The server needs the graph itself (the setting `graphs`), for it says which keys and nodes there are.
    """
    if principal.graphs:  # what no run is of is nobody's who is limited to graphs
        thread_seen(client, principal, thread_id)
    check_thread_free(client, principal, thread_id)
    for name in body.next:
        check_text("next", name)
    saved = client.save_checkpoint(
        thread_id,
        values.given(body.state),
        next=body.next,
        metadata=None if body.metadata is None else values.given(body.metadata),
        graph=graph_given(client, principal, body.graph),
    )
    return Json({"checkpoint_id": saved}, 201)


@router.post(
    "/threads/{thread_id:path}/checkpoints/clear",
    operation_id="clearCheckpoints",
    summary="Remove a thread's checkpoints",
    response_model=None,
    responses={200: {"model": ClearedOut, "description": "They are gone"}, **errors(404, 409)},
)
def clear(thread_id: ThreadPath, principal: Operator, client: Acting) -> Json:
    """Remove all checkpoints of a thread; its runs stay on record."""
    thread_seen(client, principal, thread_id)
    client.clear_checkpoints(thread_id)
    return Json({"cleared": True})


@router.get(
    "/checkpoints/{checkpoint_id}",
    operation_id="getCheckpoint",
    summary="Look at a checkpoint",
    response_model=None,
    responses={**typed(CheckpointOut, text="The checkpoint"), **errors(404)},
)
def get(checkpoint_id: CheckpointPath, principal: Reader, client: Acting, values: InValues) -> Json:
    """One checkpoint, whatever its thread, with its state and metadata."""
    _seen(client, principal, checkpoint_id)
    return values.answer(checkpoint_document(client.load_checkpoint(checkpoint_id), values.out))


@router.delete(
    "/checkpoints/{checkpoint_id}",
    operation_id="deleteCheckpoint",
    summary="Remove a checkpoint",
    response_model=None,
    responses={200: {"model": DeletedOut, "description": "It is gone"}, **errors(404, 409)},
)
def delete(checkpoint_id: CheckpointPath, principal: Operator, client: Acting) -> Json:
    """Remove one checkpoint; of a thread's newest one its parent takes the place."""
    _seen(client, principal, checkpoint_id)
    client.delete_checkpoint(checkpoint_id)
    return Json({"deleted": True})


def _seen(client: Client, principal: Principal, checkpoint_id: str) -> None:
    """Raises NotFoundError for a checkpoint that is not there, or not his to see."""
    check_id("checkpoint", checkpoint_id)
    record = client.store.get_checkpoint(checkpoint_id)
    if record is None or not principal.sees(thread_id=record.thread_id):
        raise NotFoundError(
            f"checkpoint {checkpoint_id!r} does not exist: the history of its thread lists those that do"
        )
    checkpoint_seen(client, principal, record.thread_id, checkpoint_id)

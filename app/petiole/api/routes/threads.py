"""``/threads/{thread_id}``: state, history, runs; change, delete, signal."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from petiole.api.access import Acting, Operator, Principal, Reader
from petiole.api.answers import errors, typed
from petiole.api.encoding import Json
from petiole.api.models.runs import RunPageOut
from petiole.api.models.threads import (
    DeletedOut,
    HistoryOut,
    OneUpdate,
    SignalBody,
    SignalOut,
    StateOut,
    UpdateBody,
    UpdatedOut,
)
from petiole.api.seeing import (
    ThreadPath,
    check_text,
    check_thread_free,
    checkpoint_seen,
    graph_given,
    narrowed,
    thread_seen,
)
from petiole.api.values import InValues
from petiole.client import Client
from petiole.client.history import history_page
from petiole.client.replaying import next_nodes
from petiole.documents import entry_document, run_document
from petiole_stores.errors import InputError, NotFoundError

router = APIRouter(prefix="/api/v1/threads/{thread_id:path}", tags=["threads"])


@router.get(
    "/state",
    operation_id="getState",
    summary="Look at a thread's state",
    response_model=None,
    responses={**typed(StateOut, text="The state"), **errors(404)},
)
def state(
    thread_id: ThreadPath,
    principal: Reader,
    client: Acting,
    values: InValues,
    checkpoint: Annotated[str | None, Query(description="Nothing: the newest.")] = None,
) -> Json:
    """The values of a thread's state, and what comes next."""
    thread_seen(client, principal, thread_id)
    if checkpoint is not None:
        checkpoint_seen(client, principal, thread_id, checkpoint)
    store = client.store
    record = store.head(thread_id) if checkpoint is None else store.get_checkpoint(checkpoint)
    if record is None:
        raise NotFoundError(f"thread {thread_id!r} has no checkpoint yet: its run has not started")
    found = client.state(thread_id, checkpoint=record.checkpoint_id)
    return values.answer(
        {
            "thread_id": thread_id,
            "checkpoint_id": record.checkpoint_id,
            "run_id": record.run_id,
            "next": next_nodes(record),
            "values": values.out(found),
        }
    )


@router.get(
    "/history",
    operation_id="getHistory",
    summary="List a thread's checkpoints",
    response_model=None,
    responses={**typed(HistoryOut, text="One page"), **errors(404)},
)
def history(
    thread_id: ThreadPath,
    principal: Reader,
    client: Acting,
    values: InValues,
    before: Annotated[str | None, Query(description="A checkpoint's id: only older ones.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 20,
    subgraphs: Annotated[bool, Query(description="Those of nodes that are graphs, too.")] = False,
) -> Json:
    """Checkpoints, newest first, each with the tasks of the superstep after it."""
    thread_seen(client, principal, thread_id)
    if before is not None:
        checkpoint_seen(client, principal, thread_id, before)
    page = client.typed(
        lambda: history_page(client.store, thread_id, before=before, limit=limit, subgraphs=subgraphs)
    )
    items = [
        entry_document(entry, {})
        | ({"state": values.out(entry.checkpoint.state)} if entry.checkpoint is not None else {})
        for entry in page
    ]
    last = page[-1].checkpoint if len(page) == limit else None
    return values.answer({"items": items, "next": last.id if last else None})


@router.get(
    "/runs",
    operation_id="listThreadRuns",
    summary="List a thread's runs",
    response_model=None,
    responses={200: {"model": RunPageOut, "description": "One page"}, **errors(404)},
)
def runs(
    thread_id: ThreadPath,
    principal: Reader,
    client: Acting,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    cursor: str | None = None,
) -> Json:
    """The thread's runs, newest first."""
    thread_seen(client, principal, thread_id)
    page = client.store.list_runs(
        narrowed(principal, thread_id=thread_id, limit=limit, cursor=cursor, brief=True)
    )
    return Json({"items": [run_document(run) for run in page.runs], "next": page.next})


@router.post(
    "/state",
    operation_id="updateState",
    summary="Change a thread's state",
    response_model=None,
    responses={200: {"model": UpdatedOut, "description": "The new checkpoint"}, **errors(404, 409)},
)
def update(
    thread_id: ThreadPath, body: UpdateBody, principal: Operator, client: Acting, values: InValues
) -> Json:
    """Change the state as if a node had written it; what follows from that node comes next.

    The server needs the thread's graph itself (the setting `graphs`), for its reducers and routers.
    """
    if body.supersteps is not None and {"values", "as_node"} & body.model_fields_set:
        raise InputError("values or as_node is given with supersteps: give one change, or several")
    if body.supersteps is None and "values" not in body.model_fields_set:
        raise InputError("neither values nor supersteps is given: say what is to be written")
    supersteps = body.supersteps or [[OneUpdate(values=body.values, as_node=body.as_node)]]
    if body.supersteps == [] or not all(supersteps):
        raise InputError("supersteps has an empty list: give at least one update a superstep")
    _check_changed(client, principal, thread_id, body.graph)
    for text in (body.ns, *(one.as_node for step in supersteps for one in step)):
        check_text("as_node", text)
    if body.checkpoint is not None:
        checkpoint_seen(client, principal, thread_id, body.checkpoint)
    config = client.bulk_update_state(
        thread_id,
        [[(values.given(one.values), one.as_node) for one in step] for step in supersteps],
        checkpoint=body.checkpoint,
        ns=body.ns,
        graph=graph_given(client, principal, body.graph),
    )
    return Json({"thread_id": thread_id, "checkpoint_id": config["configurable"]["checkpoint_id"]})


def _check_changed(client: Client, principal: Principal, thread_id: str, graph: str | None) -> None:
    """Raises NotFoundError for a thread that he may not change; a named graph may begin one that is not there yet."""
    if graph is None or principal.graphs:  # what no run is of is nobody's who is limited to graphs
        thread_seen(client, principal, thread_id)
    else:
        check_thread_free(client, principal, thread_id)


@router.post(
    "/signals",
    status_code=202,
    operation_id="sendSignal",
    summary="Send a signal to a thread",
    response_model=None,
    responses={202: {"model": SignalOut, "description": "It is kept"}, **errors(404, 409)},
)
def signal(
    thread_id: ThreadPath, body: SignalBody, principal: Operator, client: Acting, values: InValues
) -> Json:
    """It is kept until a node waits for it, also before the thread's first run."""
    check_thread_free(client, principal, thread_id)
    check_text("name", body.name)
    check_text("id", body.id)
    given = client.signal(thread_id, body.name, values.given(body.payload), id=body.id)
    return Json({"id": given}, 202)


@router.delete(
    "",
    operation_id="deleteThread",
    summary="Delete a thread",
    response_model=None,
    responses={200: {"model": DeletedOut, "description": "It is gone"}, **errors(404, 409)},
)
def delete(
    thread_id: ThreadPath,
    principal: Operator,
    client: Acting,
    force: Annotated[bool, Query(description="Cancel its active runs first.")] = False,
) -> Json:
    """Remove a thread with its runs, tasks, checkpoints and blobs, for good."""
    thread_seen(client, principal, thread_id)
    return Json({"deleted": client.delete(thread_id, force=force)})

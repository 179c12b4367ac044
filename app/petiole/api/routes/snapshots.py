"""``/threads/{thread_id}/snapshot`` and ``/snapshots``: states as LangGraph shows them."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

from fastapi import APIRouter, Query

from petiole.api.access import Acting, Reader
from petiole.api.answers import errors, typed
from petiole.api.encoding import Json
from petiole.api.models.states import GRAPH, SnapshotOut, SnapshotsOut
from petiole.api.seeing import ThreadPath, check_text, checkpoint_seen, graph_given, thread_seen
from petiole.api.values import InValues
from petiole.state_documents import snapshot_document

router = APIRouter(prefix="/api/v1/threads/{thread_id:path}", tags=["threads"])

Namespace = Annotated[str, Query(description="That of a node that is a graph; empty: the root's.")]
Graph = Annotated[str | None, Query(max_length=255, description=GRAPH)]


@router.get(
    "/snapshot",
    operation_id="getSnapshot",
    summary="Look at a thread's state with its tasks",
    response_model=None,
    responses={**typed(SnapshotOut, text="The state"), **errors(404, 409)},
)
def snapshot(
    thread_id: ThreadPath,
    principal: Reader,
    client: Acting,
    values: InValues,
    checkpoint: Annotated[str | None, Query(description="Nothing: the newest.")] = None,
    ns: Namespace = "",
    subgraphs: Annotated[bool, Query(description="With the states of nodes that are graphs.")] = False,
    graph: Graph = None,
) -> Json:
    """The state, what comes next, and the tasks of the unfinished superstep with what they wrote, ask or failed of.

    The server needs the thread's graph itself (the setting `graphs`).
    """
    thread_seen(client, principal, thread_id)
    check_text("ns", ns)
    if checkpoint is not None:
        checkpoint_seen(client, principal, thread_id, checkpoint)
    found = client.get_state(
        thread_id,
        checkpoint=checkpoint,
        ns=ns,
        subgraphs=subgraphs,
        graph=graph_given(client, principal, graph),
    )
    return values.answer(snapshot_document(found, values.out))


@router.get(
    "/snapshots",
    operation_id="listSnapshots",
    summary="List a thread's states with their tasks",
    response_model=None,
    responses={**typed(SnapshotsOut, text="One page"), **errors(404, 409)},
)
def snapshots(
    thread_id: ThreadPath,
    principal: Reader,
    client: Acting,
    values: InValues,
    ns: Namespace = "",
    before: Annotated[str | None, Query(description="A checkpoint's id: only older ones.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 20,
    graph: Graph = None,
) -> Json:
    """The thread's states, newest first. The server needs the thread's graph itself (the setting `graphs`)."""
    thread_seen(client, principal, thread_id)
    check_text("ns", ns)
    if before is not None:
        checkpoint_seen(client, principal, thread_id, before)
    given = graph_given(client, principal, graph)
    found = client.typed(
        lambda: [
            *islice(client.state_history(thread_id, ns=ns, before=before, limit=limit, graph=given), limit)
        ]
    )
    last = found[-1].config["configurable"]["checkpoint_id"] if len(found) == limit else None
    return values.answer({"items": [snapshot_document(one, values.out) for one in found], "next": last})

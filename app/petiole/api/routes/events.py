"""``/runs/{run_id}/events`` and ``/events``: what a run does, and which runs change, while they do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Header, Query, Request

from petiole.api.access import Acting, Reader
from petiole.api.answers import errors
from petiole.api.encoding import encode
from petiole.api.feed import Feed
from petiole.api.hub import End, Frame, Hub
from petiole.api.problems import status_of
from petiole.api.seeing import RunPath, run_seen
from petiole.api.sse import MEDIA_TYPE, EventStream, event
from petiole.api.values import InValues
from petiole.documents import run_document
from petiole_stores.errors import InputError, PetioleError
from petiole_workers.streaming import Modes, StreamMode
from petiole_workers.streaming.cursor import Position

router = APIRouter(prefix="/api/v1", tags=["streaming"])

STREAM: dict[str, Any] = {"content": {MEDIA_TYPE: {"schema": {"type": "string"}}}}


@router.get(
    "/runs/{run_id}/events",
    operation_id="followRun",
    summary="Follow a run (server-sent events)",
    status_code=200,
    response_class=EventStream,
    response_model=None,
    responses={200: {"description": "Events until the run rests", **STREAM}, **errors(404)},
)
async def follow(
    run_id: RunPath,
    request: Request,
    principal: Reader,
    client: Acting,
    values: InValues,
    mode: Annotated[
        list[StreamMode], Query(description="What to tell of; may be repeated. Nothing: `updates`.")
    ] = [],  # noqa: B006
    subgraphs: Annotated[bool, Query(description="What happens in subgraphs, too.")] = False,
    key: Annotated[str | None, Query(description="Show this key of the state alone, as its value.")] = None,
    keys: Annotated[list[str], Query(description="Show these keys alone; may be repeated.")] = [],  # noqa: B006
    after: Annotated[str | None, Query(description="An event's id: only what comes after it.")] = None,
    last: Annotated[str | None, Header(alias="Last-Event-ID", description="As `after`.")] = None,
) -> EventStream:
    """Everything that a run does, from its beginning or from an event on, without a gap and without a repeat.

    Each event's name is its mode. The last one is `end`, with the run as it rests then, or `error`, with a problem document.
    Close the connection then: who comes back is told the end again.
    """
    run = await asyncio.to_thread(run_seen, client, principal, run_id)
    position = after or last or None
    if position is not None and Position.parse(position).run_id != run.run_id:
        raise InputError(
            f"the event id is of another run than {run.run_id}: follow that one, or leave it out"
        )
    if key is not None and keys:
        raise InputError("both key and keys are given: give one of them")
    modes = Modes.of(list(mode) or "updates", subgraphs=subgraphs)

    async def texts() -> AsyncIterator[bytes]:
        found: Frame | End
        try:
            async for found in hub_of(request).follow(client, run, modes, position, key or keys or None):
                if isinstance(found, End):
                    yield event("end", encode(run_document(found.run)))
                else:
                    yield event(found.event.mode, found.text(values), found.event.id)
        except PetioleError as error:
            problem = {"type": type(error).__name__, "status": int(status_of(error)), "detail": str(error)}
            yield event("error", msgspec.json.encode(problem))

    return EventStream(texts(), again=getattr(request.state, "again", None))


@router.get(
    "/events",
    operation_id="watchRuns",
    summary="Watch which runs change (server-sent events)",
    status_code=200,
    response_class=EventStream,
    response_model=None,
    responses={200: {"description": "Events for as long as the caller listens", **STREAM}},
)
async def watch(request: Request, principal: Reader, client: Acting) -> EventStream:
    """`run` events with runs that are new or have changed, within about a second of it; `reset`: too much has changed, load
    the list anew. It begins with the present and cannot be resumed."""

    async def texts() -> AsyncIterator[bytes]:
        async for change in feed_of(request).watch(client, principal):
            if change.run is None:
                yield event("reset", b"{}")
            else:
                yield event("run", encode(run_document(change.run)))

    return EventStream(texts(), again=getattr(request.state, "again", None))


def hub_of(request: Request) -> Hub:
    """The application's hub."""
    state = request.app.state
    if not hasattr(state, "hub"):
        state.hub = Hub()
    hub: Hub = state.hub
    return hub


def feed_of(request: Request) -> Feed:
    """The application's feed of changes."""
    state = request.app.state
    if not hasattr(state, "feed"):
        state.feed = Feed()
    feed: Feed = state.feed
    return feed

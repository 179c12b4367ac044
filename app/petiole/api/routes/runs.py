"""``/runs``: submit, list, count, compare, and look at one."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any
from urllib.parse import quote

import msgspec
from fastapi import APIRouter, Header, Query
from pydantic import AwareDatetime

from petiole.api.access import Acting, Principal, Reader, Submitter
from petiole.api.answers import errors, typed
from petiole.api.encoding import Json
from petiole.api.models.runs import (
    CountsOut,
    DifferencesOut,
    RunFullOut,
    RunOut,
    RunPageOut,
    SubmitBody,
)
from petiole.api.seeing import (
    RunPath,
    check_text,
    check_thread_free,
    checkpoint_seen,
    graph_seen,
    narrowed,
    run_seen,
)
from petiole.api.values import InValues, Values
from petiole.client import Client
from petiole.documents import difference_document, run_document
from petiole_stores.errors import IdempotencyError, InputError, NotFoundError, UnfitError
from petiole_stores.ids import derived_id, new_id
from petiole_stores.records import Run, RunFilter, RunStatus

router = APIRouter(prefix="/api/v1/runs", tags=["runs"])

Key = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        max_length=255,
        description="The same key, for the same graph, gives the same run, however often it is submitted.",
    ),
]

Graphs = Annotated[list[str], Query(description="Of these graphs alone, beside `graph`; may be repeated.")]
Namespaces = Annotated[list[str], Query(description="Of threads of these namespaces alone; may be repeated.")]


@router.post(
    "",
    status_code=201,
    operation_id="submitRun",
    summary="Submit a run",
    response_model=None,
    responses={
        **typed(RunOut, 201, "The run is accepted durably; `Location` is where it is"),
        200: {"model": RunOut, "description": "A run of this key was there before"},
        **errors(404, 409),
    },
)
def submit(body: SubmitBody, principal: Submitter, client: Acting, values: InValues, key: Key = None) -> Json:
    """Accept a run durably; a worker takes it up. What was answered with 201 is never lost."""
    graph_seen(principal, body.graph)
    for name, text in (("Idempotency-Key", key), ("version", body.version)):
        check_text(name, text)
    if body.at is not None and body.in_seconds is not None:
        raise InputError("both at and in_seconds are given: one time is enough")
    if body.deadline is not None and body.deadline_seconds is not None:
        raise InputError("both deadline and deadline_seconds are given: one is enough")
    thread_id = _thread_id(principal, body, key)
    if thread_id is not None:
        check_thread_free(client, principal, thread_id)
    known = key and client.store.get_run(derived_id("run", body.graph, key))
    try:
        handle = client.submit(
            body.graph,
            values.given(body.input),
            thread_id=thread_id,
            idempotency_key=key,
            context=values.given(body.context),
            configurable=None if body.configurable is None else values.given(body.configurable),
            tags=body.tags,
            metadata=None if body.metadata is None else values.given(body.metadata),
            at=_span(body.in_seconds) or body.at,
            deadline=_span(body.deadline_seconds) or body.deadline,
            if_busy=body.if_busy,
            version=body.version,
            recursion_limit=body.recursion_limit,
            durability=body.durability,
            consistency=body.consistency,
        )
    except IdempotencyError as error:
        if isinstance(known, Run) and not principal.sees(graph=known.graph, thread_id=known.thread_id):
            raise IdempotencyError(f"idempotency key {key!r} is taken: use a new one") from None
        raise error
    headers = {"location": f"/api/v1/runs/{quote(handle.run_id, safe='')}"}
    return values.answer(run_document(handle.run), 200 if known else 201, headers)


@router.get(
    "",
    operation_id="listRuns",
    summary="List runs, newest first",
    response_model=None,
    responses={200: {"model": RunPageOut, "description": "One page"}},
)
def list_(
    principal: Reader,
    client: Acting,
    graph: str | None = None,
    status: Annotated[list[RunStatus], Query(description="In one of these; may be repeated.")] = [],  # noqa: B006
    thread_id: str | None = None,
    tag: str | None = None,
    text: Annotated[
        str | None, Query(description="Part of a thread's, run's or graph's name, or of a tag.")
    ] = None,
    error_type: Annotated[str | None, Query(examples=["ValueError"])] = None,
    since: Annotated[AwareDatetime | None, Query(description="Submitted at or after.")] = None,
    until: Annotated[AwareDatetime | None, Query(description="Submitted before.")] = None,
    graphs: Graphs = [],  # noqa: B006
    namespaces: Namespaces = [],  # noqa: B006
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    cursor: Annotated[str | None, Query(description="The `next` of the page before.")] = None,
) -> Json:
    """Runs that match. A page costs the same wherever it stands."""
    page = client.store.list_runs(
        narrowed(
            principal,
            graph=graph,
            status=list(status),
            thread_id=thread_id,
            tag=tag,
            text=text,
            error_type=error_type,
            since=since and since.timestamp(),
            until=until and until.timestamp(),
            graphs=graphs,
            namespaces=namespaces,
            limit=limit,
            cursor=cursor,
            brief=True,
        )
    )
    return Json({"items": [run_document(run) for run in page.runs], "next": page.next})


@router.get(
    "/counts",
    operation_id="countRuns",
    summary="Count runs by status",
    response_model=None,
    responses={200: {"model": CountsOut, "description": "The counts; every status is named"}},
)
def counts(
    principal: Reader,
    client: Acting,
    graph: str | None = None,
    thread_id: str | None = None,
    tag: str | None = None,
    text: str | None = None,
    error_type: str | None = None,
    since: AwareDatetime | None = None,
    until: AwareDatetime | None = None,
    graphs: Graphs = [],  # noqa: B006
    namespaces: Namespaces = [],  # noqa: B006
) -> Json:
    """How many runs match, by status."""
    filter: RunFilter = narrowed(
        principal,
        graph=graph,
        thread_id=thread_id,
        tag=tag,
        text=text,
        error_type=error_type,
        since=since and since.timestamp(),
        until=until and until.timestamp(),
        graphs=graphs,
        namespaces=namespaces,
    )
    found = client.store.count_runs(filter)
    return Json({"counts": found, "total": sum(found.values())})


@router.get(
    "/diff",
    operation_id="diffRuns",
    summary="Compare two states",
    response_model=None,
    responses={200: {"model": DifferencesOut, "description": "What differs, part by part"}, **errors(404)},
)
def diff(
    principal: Reader,
    client: Acting,
    a: Annotated[str, Query(description="A checkpoint, a thread (its newest) or a run (its last).")],
    b: Annotated[str, Query(description="The other one.")],
) -> Json:
    """What is different between two states, each named by its checkpoint, its thread or its run."""
    for name in (a, b):
        _check_named(client, principal, name)
    return Json({"items": [difference_document(one) for one in client.diff(a, b)]})


@router.get(
    "/{run_id}",
    operation_id="getRun",
    summary="Look at a run",
    response_model=None,
    responses={**typed(RunFullOut, text="The run with its input"), **errors(404)},
)
def get(run_id: RunPath, principal: Reader, client: Acting, values: InValues) -> Json:
    """One run with its input."""
    run = run_seen(client, principal, run_id)
    return values.answer(run_document(run) | {"input": _input(client, run, values)})


def _input(client: Client, run: Run, values: Values) -> Any:
    """The run's input; as it is stored where this server does not know its classes, for the run is to be seen all the same."""
    try:
        return values.out(client.value(run.thread_id, run.input))
    except UnfitError:
        return msgspec.json.decode(run.input or "null")


def _thread_id(principal: Principal, body: SubmitBody, key: str | None) -> str | None:
    """The thread of a run; where a principal is limited to namespaces, a new one is in the first of them."""
    if body.thread_id is not None or not principal.namespaces:
        return body.thread_id
    made = derived_id("thread", body.graph, key) if key else new_id()
    return f"{principal.namespaces[0]}:{made}"


def _span(seconds: float | None) -> timedelta | None:
    return None if seconds is None else timedelta(seconds=seconds)


def _check_named(client: Client, principal: Principal, name: str) -> None:
    """Raise NotFoundError unless the checkpoint, thread or run of this name is his to see."""
    check_text("a name", name)
    try:
        point = client.named_checkpoint(name) if name else None
        if point is not None and principal.sees(thread_id=point.thread_id):
            checkpoint_seen(client, principal, point.thread_id, point.id)
            return
    except NotFoundError:
        pass
    raise NotFoundError(f"{name!r} is neither a checkpoint nor a thread or run that has one")

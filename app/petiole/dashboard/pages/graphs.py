"""Graphs: the catalogue, one graph with its drawing, and the form that starts a run of it."""

from __future__ import annotations

import shlex
from typing import Any
from urllib.parse import quote

import msgspec
from fastapi import APIRouter, Request
from starlette.datastructures import FormData
from starlette.responses import RedirectResponse, Response

from petiole.api.access import Acting, Principal, Reader, Submitter
from petiole.api.problems import status_of
from petiole.api.seeing import check_thread_free
from petiole.client import Client
from petiole.dashboard import forms
from petiole.dashboard.catalogue import catalogue, drawn, entry_of, graph_known, input_schema
from petiole.dashboard.csrf import Filled
from petiole.dashboard.rendering import PageRoute, page
from petiole_stores.errors import IdempotencyError, InputError, PetioleError
from petiole_stores.ids import new_id
from petiole_stores.ledger_reads import STATUSES

router = APIRouter(route_class=PageRoute)


@router.get("/graphs")
def graphs(request: Request, client: Acting, reader: Reader) -> Response:
    """The catalogue."""
    return page(request, "graphs.html", place="graphs", entries=catalogue(client, reader), statuses=STATUSES)


@router.get("/graphs/{graph}")
def graph(request: Request, client: Acting, reader: Reader, graph: str) -> Response:
    """One graph."""
    return shown(request, client, reader, graph)


@router.post("/graphs/{graph}/runs")
def start(request: Request, client: Acting, submitter: Submitter, form: Filled, graph: str) -> Response:
    """Start a run with what was filled in, and go to it; what is wrong leads back to the form."""
    entry_of(client, submitter, graph)
    known = graph_known(client, graph)
    schema = input_schema(known)
    fields = forms.fields_of(schema) if schema else []
    try:
        value, right = _input(fields, form)
        if not right:
            return shown(request, client, submitter, graph, 422, fields=fields, filled=form)
        if known is not None:
            known.accept(value)
        thread_id = _thread(submitter, form)
        if thread_id is not None:
            check_thread_free(client, submitter, thread_id)
        handle = client.submit(
            graph,
            value,
            thread_id=thread_id,
            idempotency_key=str(form.get("idempotency_key", "")).strip() or None,
            tags=str(form.get("tags", "")).replace(",", " ").split(),
        )
    except IdempotencyError:
        fault = "the idempotency key is taken by another request: use a new one"
        return shown(request, client, submitter, graph, 409, fields=fields, filled=form, fault=fault)
    except PetioleError as error:
        status = int(status_of(error))
        return shown(request, client, submitter, graph, status, fields=fields, filled=form, fault=str(error))
    return RedirectResponse(f"/runs/{quote(handle.run_id, safe='')}", 303)


def shown(
    request: Request,
    client: Client,
    reader: Principal,
    name: str,
    status: int = 200,
    *,
    fields: list[forms.Field] | None = None,
    filled: FormData | None = None,
    fault: str = "",
) -> Response:
    """The page of a graph; with what was filled in and is wrong, if anything is."""
    entry = entry_of(client, reader, name)
    known = graph_known(client, name)
    schema = input_schema(known)
    if fields is None:
        fields = forms.fields_of(schema) if schema else []
    drawing = known.get_graph(xray=True) if known is not None else None
    return page(
        request,
        "graph.html",
        status,
        place="graphs",
        entry=entry,
        statuses=STATUSES,
        shape=drawn(drawing) if drawing is not None else None,
        mermaid=drawing.draw_mermaid() if drawing is not None else "",
        fields=fields,
        schema=schema,
        filled=filled or FormData(),
        fault=fault,
        command=shlex.join(["petiole", "run", "start", name, "--input", _example(schema)]),
    )


def _input(fields: list[forms.Field], form: FormData) -> tuple[dict[str, Any], bool]:
    """The input that was filled in, and whether the fields are right. Raises InputError for JSON that is none."""
    if fields and form.get("as") != "json":
        return forms.read(fields, form)
    try:
        value = forms.json_of(str(form.get("json", "")).strip() or "{}")
    except ValueError as error:
        raise InputError(f"the input is {error}") from None
    if not isinstance(value, dict):
        raise InputError("the input is no JSON object: give one, {} will do")
    return value, True


def _thread(submitter: Principal, form: FormData) -> str | None:
    """The thread's id; a new one is in the first namespace of somebody who is limited to some."""
    given = str(form.get("thread_id", "")).strip()
    if given or not submitter.namespaces:
        return given or None
    return f"{submitter.namespaces[0]}:{new_id()}"


def _example(schema: dict[str, Any] | None) -> str:
    """An input with the fields that are needed."""
    blanks = {"string": "", "integer": 0, "number": 0, "boolean": False, "array": [], "object": {}}
    properties = schema["properties"] if schema else {}
    needed = (schema or {}).get("required", ())
    example = {name: blanks.get(properties[name].get("type")) for name in needed if name in properties}
    return msgspec.json.encode(example).decode()

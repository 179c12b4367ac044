"""Addresses that forms are posted to, asked for by GET: a form that was refused leaves its own in the browser.

A reload, or the page's own look for news, then leads to the page that the form stands on.
"""

from __future__ import annotations

from urllib.parse import quote

from fastapi import APIRouter
from starlette.responses import RedirectResponse, Response

from petiole.api.access import Acting, Reader
from petiole.dashboard.catalogue import entry_of
from petiole.dashboard.rendering import PageRoute

router = APIRouter(route_class=PageRoute)


@router.get("/runs/{run_id}/cancel")
@router.get("/runs/{run_id}/pause")
@router.get("/runs/{run_id}/unpause")
@router.get("/runs/{run_id}/replay")
@router.get("/runs/{run_id}/resume")
@router.get("/runs/{run_id}/fork")
def run(reader: Reader, run_id: str) -> Response:
    """To the run."""
    return RedirectResponse(f"/runs/{quote(run_id, safe='')}", 303)


@router.get("/graphs/{graph}/runs")
def graph(client: Acting, reader: Reader, graph: str) -> Response:
    """To the graph with its start form. Raises NotFoundError for one that is not the caller's to see."""
    entry_of(client, reader, graph)
    return RedirectResponse(f"/graphs/{quote(graph, safe='')}", 303)


@router.get("/schedules/{name}")
def schedule(reader: Reader, name: str) -> Response:
    """To the schedules."""
    return RedirectResponse("/schedules", 303)


@router.get("/keys/{key_id}/revoke")
def key(reader: Reader, key_id: str) -> Response:
    """To the keys."""
    return RedirectResponse("/keys", 303)

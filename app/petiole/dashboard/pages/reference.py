"""The HTTP API, for people to read."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from petiole.api.access import Reader
from petiole.api.problems import OPENAPI
from petiole.dashboard.reference import operations_of
from petiole.dashboard.rendering import PageRoute, page

router = APIRouter(route_class=PageRoute)


@router.get("/reference")
def reference(request: Request, reader: Reader) -> Response:
    """Every operation, with an example for a shell."""
    app = request.app
    authenticated = app.state.authenticated
    base = str(request.base_url).rstrip("/")
    operations = operations_of(app.openapi(), base, authenticated=authenticated)
    return page(
        request, "reference.html", operations=operations, openapi=OPENAPI, authenticated=authenticated
    )

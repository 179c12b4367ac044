"""The table of all routes: where each is, and which scope it asks for, known before a request is read.

It is made of the routers themselves, so that it does not depend on how FastAPI keeps those that are included.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from starlette.requests import HTTPConnection
from starlette.routing import compile_path

from petiole.api import access
from petiole.api.access import Scope


class Endpoint(NamedTuple):
    """One operation. ``needs``: the scope that it asks for; ``None``: it asks for none, or sees to it itself."""

    method: str
    path: str
    needs: Scope | None


class Table:
    """The routes in the order in which they are tried."""

    def __init__(self) -> None:
        self.endpoints: list[Endpoint] = []
        self.routes: list[APIRoute] = []
        self._found: list[tuple[re.Pattern[str], Endpoint]] = []

    def add(self, router: APIRouter) -> None:
        for route in router.routes:
            if isinstance(route, APIRoute):
                self.routes.append(route)
                pattern = compile_path(route.path)[0]
                for method in sorted(route.methods or ()):
                    endpoint = Endpoint(method, route.path, _needs(route.dependant))
                    self.endpoints.append(endpoint)
                    self._found.append((pattern, endpoint))

    def has(self, path: str) -> bool:
        """Whether there is a route of this template."""
        return any(one.path == path for one in self.endpoints)

    def find(self, method: str, path: str) -> Endpoint | None:
        """The operation that a request is for."""
        return next((it for pattern, it in self._found if it.method == method and pattern.match(path)), None)


def include(app: FastAPI, router: APIRouter, *, in_schema: bool = True) -> None:
    """Put a router's routes into the application and its table."""
    app.include_router(router, include_in_schema=in_schema)
    table: Table | None = getattr(app.state, "table", None)
    if table is None:
        table = app.state.table = Table()
    table.add(router)


def table_of(request: HTTPConnection) -> Table:
    """The table of the application that a request is for."""
    found: Table = request.app.state.table
    return found


def _needs(dependant: Any) -> Scope | None:
    """The scope that a route's dependencies ask for."""
    for one in dependant.dependencies:
        scope = access.scope_of(one.call) or _needs(one)
        if scope is not None:
            return scope
    return None

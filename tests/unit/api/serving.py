"""The application over a memory store and a local worker, and requests to it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from fastapi.testclient import TestClient
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from petiole import CompiledGraph
from petiole.api.access import Principal
from petiole.api.app import create_app
from petiole.testing import LocalWorker
from petiole_stores.store import Store

API = "/api/v1"


class Acts:
    """Makes every request that of one principal, as authentication will."""

    def __init__(self, app: ASGIApp, who: Served) -> None:
        self._app, self._who = app, who

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._who.principal is not None:
            Request(scope).state.principal = self._who.principal
        await self._app(scope, receive, send)


class Served:
    """One worker and the application on its store. ``principal`` is who asks from now on; ``None``: anybody."""

    def __init__(self, worker: LocalWorker, graphs: Sequence[CompiledGraph]) -> None:
        self.worker, self.client = worker, worker.client
        self.principal: Principal | None = None
        for graph in graphs:
            self.client.graph_of(graph.name, graph)
        self.app = create_app(self.client)
        self.app.user_middleware.append(Middleware(Acts, who=self))  # the innermost: after authentication
        self.http = TestClient(self.app, raise_server_exceptions=True)

    def get(self, path: str, **parameters: Any) -> Any:
        """The JSON of a GET that has to succeed."""
        return self._json(self.http.get(API + path, params=parameters))

    def post(self, path: str, body: Any = None, **options: Any) -> Any:
        """The JSON of a POST that has to succeed."""
        return self._json(self.http.post(API + path, json=body, **options))

    def refused(self, method: str, path: str, status: int, **options: Any) -> str:
        """The detail of the problem document that a request has to get."""
        answer = self.http.request(method, API + path, **options)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert problem["status"] == status
        detail: str = problem["detail"]
        return detail

    def work(self) -> None:
        self.worker.run_until_idle()

    @staticmethod
    def _json(answer: Any) -> Any:
        assert answer.status_code < 300, answer.text
        return answer.json()


@contextmanager
def serving(*graphs: CompiledGraph, store: Store | None = None) -> Iterator[Served]:
    """The application with a worker that serves these graphs."""
    with LocalWorker(graphs, store) as worker:
        served = Served(worker, graphs)
        with served.http:
            yield served

"""Requests counted and timed by the template of their route, so that ids in paths make no new series."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: Seconds.
BUCKETS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
#: In place of a template, where no route was reached.
NONE = "(none)"


class RequestMetrics:
    """The layer around all others. A request's time is that until its answer begins: streams go on for as long as they like."""

    def __init__(self, app: ASGIApp, *, registry: CollectorRegistry) -> None:
        self._app = app
        self._count = Counter(
            "petiole_http_requests",
            "Requests answered.",
            ("method", "route", "status"),
            registry=registry,
        )
        self._seconds = Histogram(
            "petiole_http_request_seconds",
            "Time until the answer to a request begins.",
            ("method", "route"),
            buckets=BUCKETS,
            registry=registry,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.monotonic(), 0

        async def tell(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start" and not status:
                status = message["status"]
                self._note(scope, status, time.monotonic() - began)
            await send(message)

        try:
            await self._app(scope, receive, tell)
        finally:
            if not status:  # it failed, or the client went away, before there was an answer
                self._note(scope, 500, time.monotonic() - began)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in METHODS else "other"
        route = getattr(scope.get("route"), "path", NONE)
        self._count.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)

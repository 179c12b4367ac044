"""The ASGI application: API, dashboard, health and metrics in one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import to_thread
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

import petiole
from petiole.access.keys import Keys
from petiole.access.sessions import Sessions
from petiole.access.tokens import Tokens
from petiole.api import problems, routes, table
from petiole.api.authentication import OPEN, Authentication
from petiole.api.failures import Failures
from petiole.api.headers import SafeHeaders
from petiole.api.limits import Limits
from petiole.api.metrics.ledger import LedgerMetrics
from petiole.api.metrics.requests import RequestMetrics
from petiole.api.readiness import Readiness
from petiole.api.routes import audit, health, keys, metrics, schedules, sessions
from petiole.bulk.doing import Jobs
from petiole.client import Client
from petiole.dashboard import router as dashboard

#: Calls of the store that may be under way at once.
THREADS = 64
#: How long a stop waits for the batches of bulk jobs that are under way, in seconds.
JOBS_GRACE = 5.0


def create_app(
    client: Client, *, authenticated: bool = False, hosts: frozenset[str] = frozenset(), secure: bool = False
) -> FastAPI:
    """The application over a client's store and broker; the caller opens and closes the client.

    Parameters
        authenticated  who says nothing is refused; else he may do anything
        hosts          the host names that it answers to; empty: any
        secure         cookies are for https alone
    """
    app = FastAPI(
        title="Petiole",
        version=petiole.__version__,
        openapi_url=problems.OPENAPI,
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan,
    )
    app.state.client = client
    app.state.authenticated, app.state.secure = authenticated, secure
    app.state.keys = Keys(client.store)
    app.state.sessions = Sessions(client.store, app.state.keys, client.settings.session_secret)
    app.state.failures = Failures()
    app.state.readiness = Readiness(client)
    app.state.jobs = Jobs(client)
    app.state.metrics = CollectorRegistry()
    app.state.metrics.register(LedgerMetrics(client))
    problems.install(app)
    for router in (
        health.router,
        metrics.router,
        keys.router,
        schedules.router,
        audit.router,
        sessions.router,
    ):
        table.include(app, router)
    routes.install(app)
    dashboard.install(app)
    # The last one added stands before all others.
    settings = client.settings
    app.add_middleware(
        Limits, body=settings.max_body, rate=settings.request_rate, burst=settings.request_burst
    )
    app.add_middleware(
        Authentication,
        keys=app.state.keys,
        sessions=app.state.sessions,
        tokens=Tokens(settings) if settings.oidc_issuer else None,
        failures=app.state.failures,
        required=authenticated,
        hosts=hosts,
        open_paths=(*OPEN, "/metrics") if settings.metrics_public else OPEN,
    )
    app.add_middleware(SafeHeaders, secure=secure)
    app.add_middleware(RequestMetrics, registry=app.state.metrics)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    to_thread.current_default_thread_limiter().total_tokens = THREADS
    app.state.jobs.start()
    yield
    # Nothing of this application touches the store once its caller may close it.
    if (hub := getattr(app.state, "hub", None)) is not None:
        await to_thread.run_sync(hub.close)
    await to_thread.run_sync(app.state.jobs.close, JOBS_GRACE)

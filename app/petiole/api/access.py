"""What a route says of who may call it: dependencies that check a scope, and the client to act with."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from anyio import to_thread
from fastapi import Depends, HTTPException, Request

from petiole.access.principal import ANONYMOUS
from petiole.access.principal import Principal as Principal
from petiole.access.principal import Scope as Scope
from petiole.audit.client import AuditedClient
from petiole.audit.entry import Origin
from petiole.client import Client

#: What each dependency of :func:`needs` asks for.
_SCOPES: dict[object, Scope] = {}


def principal_of(request: Request) -> Principal:
    """Who makes this request; authentication has put it there."""
    found: Principal = getattr(request.state, "principal", ANONYMOUS)
    return found


def needs(scope: Scope) -> Callable[[Request], Awaitable[Principal]]:
    """A dependency that refuses (403) who lacks the scope, and gives who asks."""

    # Dependencies that are not ``async`` are called in threads, and a thread costs more than what is done here.
    async def check(request: Request) -> Principal:
        principal = principal_of(request)
        if not principal.has(scope):
            has = ", ".join(sorted(principal.scopes)) or "none"
            reason = f"this needs the scope {scope!r}, and {principal.name} has: {has}"
            if request.method not in ("GET", "HEAD", "OPTIONS"):
                client, route = audited(request), _route_of(request)
                await to_thread.run_sync(client.note_refusal, route, reason, request.path_params)
            raise HTTPException(403, reason)
        return principal

    _SCOPES[check] = scope
    return check


def scope_of(dependency: object) -> Scope | None:
    """The scope that a dependency asks for, if it is one of :func:`needs`."""
    return _SCOPES.get(dependency)


Reader = Annotated[Principal, Depends(needs("read"))]
Submitter = Annotated[Principal, Depends(needs("submit"))]
Operator = Annotated[Principal, Depends(needs("operate"))]
Admin = Annotated[Principal, Depends(needs("admin"))]


def origin_of(request: Request) -> Origin:
    """Who makes this request and from where, as the audit log has it."""
    return Origin(
        actor=principal_of(request).name,
        via="api" if request.url.path.startswith("/api/") else "dashboard",
        address=request.client.host if request.client else "",
        user_agent=request.headers.get("user-agent", ""),
    )


def audited(request: Request) -> AuditedClient:
    """The client to act with for this request: what it changes is put into the audit log under the principal's name."""
    return AuditedClient(request.app.state.client, origin_of(request))


def client_of(request: Request) -> Client:
    """As :func:`audited`, for those who need no more than a client."""
    return audited(request)


async def _audited(request: Request) -> AuditedClient:
    return audited(request)


Acting = Annotated[Client, Depends(_audited)]
Recording = Annotated[AuditedClient, Depends(_audited)]


def _route_of(request: Request) -> str:
    """Method and template of the route that was asked for."""
    return f"{request.method} {getattr(request.scope.get('route'), 'path', request.url.path)}"

"""``POST /login`` and ``POST /logout``: a browser's session, begun with an API key."""

from __future__ import annotations

import logging
from typing import Annotated
from urllib.parse import quote

import msgspec
from fastapi import APIRouter, Form, HTTPException, Request
from starlette.responses import RedirectResponse, Response

from petiole.access.principal import AuthenticationError
from petiole.access.sessions import LIFETIME, Session, Sessions
from petiole.api.access import audited
from petiole.api.authentication import COOKIE, address_of
from petiole.audit.client import AuditedClient

logger = logging.getLogger("petiole.api")

router = APIRouter(include_in_schema=False)


@router.post("/login")
def login(
    request: Request,
    key: Annotated[str, Form(max_length=4096)] = "",
    next: Annotated[str, Form(max_length=4096)] = "/",
) -> Response:
    """Begin a session and go where the browser was to go; a wrong key leads back to the form."""
    sessions: Sessions = request.app.state.sessions
    client = audited(request)
    try:
        cookie = sessions.begin(key.strip())
    except AuthenticationError:
        # Not in the audit log: whoever reaches the server could fill the store.
        request.app.state.failures.count(address_of(request.scope))
        logger.warning("a log-in from %s was refused", client.origin.address)
        return RedirectResponse(f"/login?failed=1&next={quote(_within(next))}", 303)
    principal, session = sessions.open(cookie)
    as_him = AuditedClient(client, msgspec.structs.replace(client.origin, actor=principal.name))
    with as_him.recording("session.begin", details={"session": session.id}):
        pass
    answer = RedirectResponse(_within(next), 303)
    answer.set_cookie(
        COOKIE,
        cookie,
        max_age=int(LIFETIME),
        httponly=True,
        samesite="strict",
        secure=request.app.state.secure,
    )
    return answer


@router.post("/logout")
def logout(request: Request, csrf: Annotated[str, Form(max_length=200)] = "") -> Response:
    """End the session of this browser."""
    check_csrf(request, csrf)
    if (session := session_of(request)) is not None:
        with audited(request).recording("session.end", details={"session": session.id}):
            pass
    answer = RedirectResponse("/login", 303)
    answer.delete_cookie(COOKIE, httponly=True, samesite="strict", secure=request.app.state.secure)
    return answer


def csrf_of(request: Request) -> str:
    """The token that a page's forms bring along, as the field ``csrf``."""
    sessions: Sessions = request.app.state.sessions
    return sessions.csrf(session_of(request))


def check_csrf(request: Request, given: str) -> None:
    """Refuse a form (403) that does not come from a page of this session's."""
    sessions: Sessions = request.app.state.sessions
    if not sessions.is_csrf(session_of(request), given):
        raise HTTPException(
            403, "the form is too old or not of this server: load the page again and repeat it"
        )


def session_of(request: Request) -> Session | None:
    found: Session | None = getattr(request.state, "session", None)
    return found


def _within(next: str) -> str:
    """A path of this server, whatever was asked for."""
    return next if next.startswith("/") and not next.startswith(("//", "/\\")) and "\n" not in next else "/"

"""Who asks: a layer before all routes that finds the principal of a request, or refuses it.

Three ways to say who one is: an API key or a provider's token as ``Authorization: Bearer``, or the session cookie of a
browser. A request that changes something and comes with a cookie, or from a browser where authentication is off, must
come from a page of this server: another site could make the browser send it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from http.cookies import CookieError, SimpleCookie
from urllib.parse import quote

from anyio import to_thread
from starlette.datastructures import Headers
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from petiole.access.keys import PREFIX, Keys
from petiole.access.principal import ANONYMOUS, AuthenticationError, Principal
from petiole.access.sessions import Session, Sessions, is_own_site
from petiole.access.tokens import Tokens
from petiole.api.failures import Failures
from petiole.api.problems import problem, status_of
from petiole_stores.errors import PetioleError

COOKIE = "petiole_session"
#: Anybody may ask for these.
OPEN = ("/livez", "/readyz", "/login", "/static/")
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class Authentication:
    """The layer. ``request.state`` has ``principal``, ``session`` and ``csrf`` (the token of its forms) after it.

    Parameters
        failures  what wrong credentials are held against
        required  ``False``: who says nothing is ``ANONYMOUS``; who says something wrong is refused all the same
        hosts     what the ``Host`` header may be where authentication is off (a page elsewhere could point a name of its own
                  at this machine); empty: anything
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: Keys,
        sessions: Sessions,
        tokens: Tokens | None,
        failures: Failures,
        required: bool,
        hosts: frozenset[str] = frozenset(),
        open_paths: tuple[str, ...] = OPEN,
    ) -> None:
        self._app, self._keys, self._sessions, self._tokens = app, keys, sessions, tokens
        self._failures = failures
        self._required, self._hosts, self._open = required, hosts, open_paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refuse_host(headers) or self._refuse_guessing(scope, headers)
        if refusal is None:
            try:
                principal, session, by_token = await self._who(scope, headers)
                csrf = self._sessions.csrf(session) if session else ""
            except AuthenticationError as error:
                if "authorization" in headers:
                    self._failures.count(address_of(scope))
                refusal = self._unauthenticated(scope, headers, str(error))
            except PetioleError as error:  # the store that keys are in does not answer
                refusal = problem(status_of(error), str(error), kind=type(error).__name__)
            else:
                scope.setdefault("state", {}).update(principal=principal, session=session, csrf=csrf)
                scope["state"]["again"] = self._again(headers)
                if scope["method"] not in SAFE and not by_token and not is_own_site(headers):
                    refusal = problem(
                        403,
                        "the request comes from a page of another site: it was not carried out",
                        kind="AccessError",
                    )
        await (refusal or self._app)(scope, receive, send)

    def _refuse_host(self, headers: Headers) -> Response | None:
        host = headers.get("host", "").rpartition(":")[0] or headers.get("host", "")
        if not self._hosts or host in self._hosts:
            return None
        return problem(
            421,
            f"the host {host!r} is none of this server's: without authentication it answers to "
            f"{', '.join(sorted(self._hosts))} only",
        )

    def _refuse_guessing(self, scope: Scope, headers: Headers) -> Response | None:
        given = headers.get("authorization", "").partition(" ")[2].strip()
        tries = bool(given) or (scope["method"] == "POST" and scope["path"] == "/login")
        if not tries or self._keys.is_proven(given):
            return None
        return self._failures.refusal(address_of(scope))

    async def _who(self, scope: Scope, headers: Headers) -> tuple[Principal, Session | None, bool]:
        """The principal, the session if there is one, and whether a token said so."""
        given = headers.get("authorization")
        if given is not None:
            kind, _, token = given.partition(" ")
            if kind.lower() != "bearer" or not token.strip():
                raise AuthenticationError("the Authorization header is not `Bearer <API key or token>`")
            return await to_thread.run_sync(self._of_token, token.strip()), None, True
        if not self._required:
            return ANONYMOUS, None, False
        cookie = _cookie(headers.get("cookie", ""))
        if cookie:
            try:
                principal, session = await to_thread.run_sync(self._sessions.open, cookie)
                return principal, session, False
            except AuthenticationError:
                if not scope["path"].startswith(self._open):
                    raise
        if scope["path"].startswith(self._open):
            return Principal(name="nobody", scopes=frozenset()), None, False
        raise AuthenticationError(
            "say who you are: `Authorization: Bearer <API key>` (`petiole key create` makes one)"
        )

    def _again(self, headers: Headers) -> Callable[[], object] | None:
        """The same check once more, for answers that go on: raises AuthenticationError once it would be refused."""
        given = headers.get("authorization")
        if given is not None:
            return partial(self._of_token, given.partition(" ")[2].strip())
        return partial(self._sessions.open, _cookie(headers.get("cookie", ""))) if self._required else None

    def _of_token(self, token: str) -> Principal:
        if token.startswith(PREFIX):
            return self._keys.check(token)
        if self._tokens is None:
            raise AuthenticationError(
                "the bearer token is no API key, and this server knows no identity provider"
            )
        return self._tokens.check(token)

    def _unauthenticated(self, scope: Scope, headers: Headers, detail: str) -> Response:
        """401, or for somebody who looks with a browser the page to log in at."""
        looks = scope["method"] == "GET" and "text/html" in headers.get("accept", "")
        if looks and not scope["path"].startswith("/api/"):
            query = scope.get("query_string", b"").decode("latin-1")
            there = quote(scope["path"] + (f"?{query}" if query else ""))
            return RedirectResponse(f"/login?next={there}", 303)
        return problem(
            401, detail, kind="AuthenticationError", headers={"WWW-Authenticate": 'Bearer realm="petiole"'}
        )


def address_of(scope: Scope) -> str:
    """Where a request comes from."""
    return str((scope.get("client") or ("unknown",))[0])


def _cookie(header: str) -> str:
    try:
        found = SimpleCookie(header).get(COOKIE)
    except CookieError:
        return ""
    return "" if found is None else found.value

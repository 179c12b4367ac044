"""What one request and one caller may take: texts of addresses, sizes of bodies, how deep they nest, requests a second."""

from __future__ import annotations

import re
import time
from collections import OrderedDict
from urllib.parse import unquote_to_bytes

from anyio import to_thread
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from petiole.access.principal import Principal
from petiole.api.problems import problem
from petiole.api.table import table_of

#: How deep arrays and objects of a body may nest.
DEPTH = 100
#: Bytes of a body that are looked at between two requests.
AT_ONCE = 65_536
#: Callers that are remembered; of those before them nothing is held against anybody.
CALLERS = 10_000
#: Routes that take larger bodies of who may operate, and how much larger.
LARGE = {"/api/v1/runs/import": 64}


class Bucket:
    """Requests that one caller still has: ``burst`` at once, and ``rate`` more each second (a token bucket)."""

    __slots__ = ("_at", "_left")

    def __init__(self, burst: float) -> None:
        self._left, self._at = burst, time.monotonic()

    def take(self, rate: float, burst: float) -> float:
        """Take one; 0, or in how many seconds there will be one."""
        wait = self.wait(rate, burst)
        if not wait:
            self._left -= 1
        return wait

    def wait(self, rate: float, burst: float) -> float:
        """In how many seconds there will be one to take; 0: there is."""
        now = time.monotonic()
        self._left = min(burst, self._left + (now - self._at) * rate)
        self._at = now
        return (1 - self._left) / rate if self._left < 1 else 0.0


class Limits:
    """The layer. It stands behind authentication, for a caller is a principal, or an address where that is off.

    Parameters
        body   bytes that a body may have; a body is read here, so that no route begins with one that is too large
        rate   requests a second for each caller; 0: as many as they like
        burst  requests at once
    """

    def __init__(self, app: ASGIApp, *, body: int, rate: float, burst: float) -> None:
        self._app, self._body, self._rate, self._burst = app, body, rate, max(burst, 1.0)
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refuse_rate(scope) or _refuse_address(scope)
        if refusal is None and scope["method"] not in ("GET", "HEAD", "OPTIONS"):
            refusal, given = await self._read(scope, receive)
            if not self._may(scope) and (refusal is not None or scope["path"].startswith("/api/")):
                # The route refuses it in its own way, whatever the body is.
                refusal, given = None, _replayed(b"", receive)
            receive = given
        await (refusal or self._app)(scope, receive, send)

    # ---------------------------------------------------------------- rate

    def _refuse_rate(self, scope: Scope) -> Response | None:
        if not self._rate or not scope["path"].startswith(("/api/", "/login")):
            return None
        caller = self._caller(scope)
        bucket = self._buckets.pop(caller, None) or Bucket(self._burst)
        self._buckets[caller] = bucket
        if len(self._buckets) > CALLERS:
            self._buckets.popitem(last=False)
        wait = bucket.take(self._rate, self._burst)
        if not wait:
            return None
        return problem(
            429,
            f"{caller} has made more than {self._rate:g} requests a second: try again in {wait:.1f} s",
            kind="RateLimitError",
            headers={"Retry-After": str(max(1, round(wait)))},
        )

    @staticmethod
    def _caller(scope: Scope) -> str:
        principal: Principal | None = scope.get("state", {}).get("principal")
        if principal is not None and principal.name not in ("anonymous", "nobody"):
            return principal.name
        return str((scope.get("client") or ("unknown",))[0])

    # ---------------------------------------------------------------- size

    @staticmethod
    def _may(scope: Scope) -> bool:
        """Whether the caller has the scope that the route asks for."""
        endpoint = table_of(HTTPConnection(scope)).find(scope["method"], scope["path"])
        principal: Principal | None = scope.get("state", {}).get("principal")
        return (
            endpoint is None or endpoint.needs is None or principal is None or principal.has(endpoint.needs)
        )

    async def _read(self, scope: Scope, receive: Receive) -> tuple[Response | None, Receive]:
        """The body, read as far as it may go."""
        headers = Headers(scope=scope)
        principal: Principal | None = scope.get("state", {}).get("principal")
        trusted = principal is not None and principal.has("operate")
        most = self._body * (LARGE.get(scope["path"], 1) if trusted else 1)
        said = headers.get("content-length", "")
        if said.isdigit() and int(said) > most:
            return _too_large(int(said), most), receive
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                break
            body += message.get("body", b"")
            if len(body) > most:
                return _too_large(len(body), most), receive
            if not message.get("more_body", False):
                break
        if "json" in headers.get("content-type", "") and await _is_deep(body):
            return problem(
                422, f"the body nests deeper than {DEPTH} arrays and objects", kind="InputError"
            ), receive
        return None, _replayed(bytes(body), receive)


def _refuse_address(scope: Scope) -> Response | None:
    """No name, id or filter has what is no text (NUL, bytes that are no UTF-8): decoded anyhow, it would be another one."""
    sent = scope.get("raw_path", b"") + b"?" + scope.get("query_string", b"")
    try:
        if "\0" not in unquote_to_bytes(sent.replace(b"+", b" ")).decode():
            return None
    except UnicodeDecodeError:
        pass
    return problem(
        400,
        "the address holds what is no text: its %-escapes have to be UTF-8 and not NUL",
        kind="InputError",
    )


#: A string of a JSON text, whatever is in it; one that does not end goes on to the text's end.
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_BRACKETS = bytes.maketrans(b"{}", b"[]")
_OTHERS = bytes(set(range(256)) - set(b"[]{}"))


def depth_of(text: bytes | bytearray, most: int) -> int:
    """How deep a JSON text nests, counted no further than a little beyond ``most``.

    A body may have many megabytes, so that each byte is looked at by compiled code alone: what is left of the text without
    its strings are its brackets, and each round takes away the innermost pairs.
    """
    left = _STRING.sub(b"", text).translate(_BRACKETS, _OTHERS)
    depth = 0
    while depth <= most and b"[]" in left:
        left = left.replace(b"[]", b"")
        depth += 1
    return depth + left.count(b"[") if depth <= most else depth  # those left have no partner


async def _is_deep(body: bytearray) -> bool:
    """Looked at in a thread if it is large, so that other requests go on meanwhile."""
    if len(body) > AT_ONCE:
        return await to_thread.run_sync(depth_of, body, DEPTH) > DEPTH
    return depth_of(body, DEPTH) > DEPTH


def _too_large(size: int, most: int) -> Response:
    return problem(
        413,
        f"the body has {size} bytes or more, and at most {most} are taken (setting max_body)",
        kind="InputError",
        headers={"Connection": "close"},
    )


def _replayed(body: bytes, receive: Receive) -> Receive:
    """A ``receive`` that gives the body that was read, then goes on with what comes."""
    told = False

    async def again() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again

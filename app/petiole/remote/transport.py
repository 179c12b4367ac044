"""Requests to a Petiole server: the key sent along, errors brought back as errors, safe requests made again."""

from __future__ import annotations

import itertools
import random
import ssl
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

import httpx
import msgspec

import petiole
from petiole.remote.problems import error_of, seconds_of
from petiole_stores.errors import ConfigurationError, PetioleError, RateLimitError, StoreUnavailableError

#: What the server is asked for where values are to come back as they were.
TYPED = "application/vnd.petiole.typed+json"
PREFIX = "/api/v1"
#: How often a request is made that may be made again, and the longest wait between two tries, in seconds.
TRIES, LONGEST_WAIT = 5, 5.0
#: For how long a server is waited for whose restart somebody who follows a run sits through, or that takes no more requests for
#: now, in seconds; and for how long one whose store is away.
PATIENCE, SHORT_PATIENCE = 60.0, 15.0
#: How long a connection may take, and an answer, in seconds.
CONNECT, ANSWER = 5.0, 35.0


class Transport:
    """One server and the credentials for it. May be used by several threads.

    Parameters
        url    where the server is: ``http://host:8642``, or where a proxy has it: ``https://host/petiole``
        token  an API key or a bearer token; ``None``: the server asks for none

    Raises ConfigurationError for a URL that is none of http or https.
    """

    def __init__(self, url: str, token: str | None, *, client: httpx.Client | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigurationError(f"the server's URL is {url!r}: give one such as http://host:8642")
        if parts.username or parts.password:
            raise ConfigurationError(
                "the server's URL has a user or password in it: give the key as token=, or as PETIOLE_TOKEN"
            )
        self.url = url.rstrip("/")
        headers = {"User-Agent": f"petiole/{petiole.__version__}", "Accept": TYPED}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        self._http = client or httpx.Client(timeout=httpx.Timeout(ANSWER, connect=CONNECT))
        self._headers = headers

    def close(self) -> None:
        self._http.close()

    def get(
        self, path: str, params: Mapping[str, Any] | None = None, *, patience: float | None = None
    ) -> Any:
        """The document at a path; ``patience``: for how long a server that is away is asked again."""
        return self._document("GET", path, params=_given(params), patience=patience)

    def get_bytes(self, path: str) -> bytes:
        """The document at a path as it is written."""
        return self._answer("GET", path).content

    def post(
        self,
        path: str,
        body: Any = None,
        *,
        again: bool = False,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> Any:
        """What the server answers to a change; ``again``: it does no harm to ask for it twice."""
        return self._document("POST", path, body=body, again=again, headers=headers, params=params)

    def patch(self, path: str, body: Any) -> Any:
        """What the server answers to a change of what is at a path."""
        return self._document("PATCH", path, body=body)

    def delete(self, path: str, params: Mapping[str, Any] | None = None) -> Any:
        """What the server answers to a removal."""
        return self._document("DELETE", path, params=_given(params))

    @contextmanager
    def stream(
        self, path: str, params: Mapping[str, Any], *, longest: float | None = None
    ) -> Iterator[httpx.Response]:
        """An answer that goes on: its lines are to be read as they come, each within ``longest`` seconds."""
        try:
            with self._http.stream(
                "GET", timeout=_timeout(longest), **self._streaming(path, params)
            ) as answer:
                if answer.is_error:
                    answer.read()
                    raise _error(answer)
                yield answer
        except httpx.HTTPError as error:
            raise self._away(error) from error

    @asynccontextmanager
    async def stream_async(
        self, path: str, params: Mapping[str, Any], *, longest: float | None = None
    ) -> AsyncIterator[httpx.Response]:
        """The same on an event loop: no thread is held while nothing comes."""
        try:
            async with (
                httpx.AsyncClient(verify=self._ssl) as http,
                http.stream("GET", timeout=_timeout(longest), **self._streaming(path, params)) as answer,
            ):
                if answer.is_error:
                    await answer.aread()
                    raise _error(answer)
                yield answer
        except httpx.HTTPError as error:
            raise self._away(error) from error

    @cached_property
    def _ssl(self) -> ssl.SSLContext | bool:
        """Made once, for it takes a while; not needed without HTTPS."""
        return httpx.create_ssl_context() if self.url.startswith("https:") else False

    def _streaming(self, path: str, params: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "url": f"{self.url}{PREFIX}{path}",
            "params": _given(params),
            "headers": {**self._headers, "Accept": f"text/event-stream, {TYPED}"},
        }

    def _document(self, method: str, path: str, **options: Any) -> Any:
        answer = self._answer(method, path, **options)
        return msgspec.json.decode(answer.content) if answer.content else None

    def _answer(
        self, method: str, path: str, *, again: bool = False, patience: float | None = None, **options: Any
    ) -> httpx.Response:
        """The answer to a request, which is made again where that is harmless and may help.

        What was refused for its rate (429) was not done, so that it always may be made again; what was lost or refused with 503
        only if it is a read, or ``again`` says so. Whoever is told when to come again waits so long.
        """
        harmless, began = again or method in ("GET", "DELETE"), time.monotonic()
        for attempt in itertools.count(1):
            told: float | None = None
            try:
                answer = self._send(method, path, **options)
            except StoreUnavailableError as error:
                failure: PetioleError = error
            else:
                if not answer.is_error:
                    return answer
                failure, told = _error(answer), retry_after(answer)
                if answer.status_code not in (429, 503):
                    raise failure
                harmless = harmless or answer.status_code == 429
            wait = max(told or 0.0, random.uniform(0, min(0.1 * 2**attempt, LONGEST_WAIT)))
            limit = patience or 0.0
            if told is not None:
                limit = max(limit, PATIENCE if isinstance(failure, RateLimitError) else SHORT_PATIENCE)
            over = time.monotonic() + wait - began > limit if limit else attempt >= TRIES
            if not harmless or over:
                raise failure
            time.sleep(wait)
        raise AssertionError("the last try returns or raises")

    def _send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        content = None if body is None else msgspec.json.encode(body)
        sent = {**self._headers, **(headers or {})} | ({} if body is None else {"Content-Type": TYPED})
        try:
            return self._http.request(
                method, f"{self.url}{PREFIX}{path}", params=params, content=content, headers=sent
            )
        except httpx.HTTPError as error:
            raise self._away(error) from error

    def _away(self, error: httpx.HTTPError) -> StoreUnavailableError:
        if isinstance(error, httpx.TimeoutException) and not isinstance(error, httpx.ConnectTimeout):
            return StoreUnavailableError(
                f"the Petiole server at {self.url} has taken the request and not answered in time: it is busy, or its store is; "
                f"see {self.url}/readyz"
            )
        return StoreUnavailableError(
            f"the Petiole server at {self.url} does not answer ({type(error).__name__}: {error}): "
            "is `petiole serve` running there?"
        )


def _error(answer: httpx.Response) -> PetioleError:
    return error_of(answer.status_code, answer.content, retry_after=answer.headers.get("Retry-After"))


def retry_after(answer: httpx.Response) -> float | None:
    """In how many seconds the server wants to be asked again, if it says so."""
    said = answer.headers.get("Retry-After")
    return None if said is None else seconds_of(said)


def _timeout(longest: float | None) -> httpx.Timeout:
    """``longest``: what may pass between two parts of an answer, where that is less than usual."""
    read = ANSWER if longest is None else max(0.05, min(longest, ANSWER))
    return httpx.Timeout(read, connect=min(CONNECT, read))


def _given(params: Mapping[str, Any] | None) -> dict[str, Any]:
    """Parameters without those that say nothing; booleans as JSON writes them."""
    return {
        name: ("true" if value else "false") if isinstance(value, bool) else value
        for name, value in (params or {}).items()
        if value not in (None, (), [])
    }

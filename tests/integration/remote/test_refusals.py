"""What a client over HTTP raises where the server refuses, or is not there."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import httpx
import pytest

from petiole import AccessError, Client, RateLimitError
from petiole.access.keys import Keys
from petiole.remote import transport as module
from petiole.remote.problems import error_of
from petiole.remote.transport import Transport
from petiole_stores.errors import ConfigurationError, GraphError, PetioleError, StoreUnavailableError
from tests.integration.remote.conftest import Pair


def test_a_wrong_key_and_too_small_a_scope(pair: Pair) -> None:
    _, small = Keys(pair.direct.store).create("reader", ["read"])
    with (
        Client(pair.url, token="ptl_000000000000_x") as stranger,
        Client(pair.url) as nobody,
        Client(pair.url, token=small) as reader,
    ):
        with pytest.raises(AccessError, match="not known"):
            stranger.workers()
        with pytest.raises(AccessError, match="say who you are"):
            nobody.workers()
        assert reader.workers()
        with pytest.raises(AccessError, match="needs the scope 'submit'"):
            reader.submit("counting", {"n": 1})


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Client("http://"), "give one such as"),
        (lambda: Client("http://ann:secret@host"), "token="),
        (lambda: Client("http://host", broker="redis://x"), "has none"),
        (lambda: Client("memory://", token="x"), "is given a store"),
    ],
)
def test_what_no_client_can_be_made_of(make: Callable[[], Client], words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        make()
    assert "secret" not in str(caught.value)


def test_a_server_that_is_away_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TRIES", 2)
    with (
        Client("http://127.0.0.1:9") as client,
        pytest.raises(StoreUnavailableError, match=r"http://127.0.0.1:9 does not answer.*petiole serve"),
    ):
        client.workers()


def answering(*answers: httpx.Response) -> tuple[Transport, list[httpx.Request]]:
    seen: list[httpx.Request] = []
    left = iter(answers)

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return next(left)

    client = httpx.Client(transport=httpx.MockTransport(answer))
    return Transport("http://host", "key", client=client), seen


def test_reads_are_made_again_and_changes_only_where_that_is_harmless(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    transport, seen = answering(
        httpx.Response(503, json={"type": "StoreUnavailableError", "status": 503, "detail": "away"}),
        httpx.Response(429, headers={"Retry-After": "3"}, json={"detail": "slower", "status": 429}),
        httpx.Response(200, json={"items": []}),
        httpx.Response(503, text="a proxy's page"),
    )
    assert transport.get("/workers") == {"items": []}
    assert len(seen) == 3
    assert waits[1] >= 3
    assert seen[0].headers["authorization"] == "Bearer key"
    with pytest.raises(StoreUnavailableError, match="a proxy's page"):
        transport.post("/runs/x/replay", {})
    assert len(seen) == 4


def test_a_request_that_came_too_fast_is_made_again_whatever_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(time, "sleep", waits.append)
    slower = httpx.Response(429, headers={"Retry-After": "7"}, json={"detail": "slower", "status": 429})
    transport, seen = answering(slower, slower, httpx.Response(200, json={"done": True}))
    assert transport.post("/runs/x/replay", {}) == {"done": True}
    assert waits == [7.0, 7.0]
    assert len(seen) == 3
    never = httpx.Response(429, headers={"Retry-After": "3600"}, json={"detail": "tomorrow", "status": 429})
    transport, seen = answering(never)
    with pytest.raises(RateLimitError, match="tomorrow") as caught:
        transport.get("/workers")
    assert caught.value.retry_after == 3600


def test_a_store_that_is_away_is_waited_for_by_reads_and_by_submits_with_a_key(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "sleep", lambda seconds: now.append(now.pop() + seconds))
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    away = httpx.Response(
        503, headers={"Retry-After": "2"}, json={"type": "StoreUnavailableError", "detail": "away"}
    )
    for ask in (
        lambda it: it.get("/workers"),
        lambda it: it.post("/runs", {}, again=True, headers={"Idempotency-Key": "k"}),
    ):
        transport, seen = answering(away, away, httpx.Response(200, json={}))
        assert ask(transport) == {}
        assert len(seen) == 3
        transport, seen = answering(*[away] * 100)
        with pytest.raises(StoreUnavailableError, match="away"):
            ask(transport)
        assert 3 < len(seen) < 20
    transport, seen = answering(away)
    with pytest.raises(StoreUnavailableError):
        transport.post("/runs/x/replay", {})
    assert len(seen) == 1


def test_an_answer_that_does_not_come_is_told_from_a_server_that_is_not_there() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("too slow", request=request)

    transport = Transport("http://host", None, client=httpx.Client(transport=httpx.MockTransport(answer)))
    with pytest.raises(StoreUnavailableError, match=r"not answered in time.*http://host/readyz"):
        transport.post("/runs/x/replay", {})


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (422, b'{"type": "GraphError", "detail": "no"}', GraphError),
        (401, b'{"type": "AuthenticationError", "detail": "who"}', AccessError),
        (403, b"", AccessError),
        (429, b"{}", RateLimitError),
        (500, b"<html>", PetioleError),
        (418, b"[1]", PetioleError),
    ],
)
def test_answers_are_the_errors_that_they_stand_for(
    status: int, body: bytes, kind: type[PetioleError]
) -> None:
    assert type(error_of(status, body, retry_after="Wed, 21 Oct 2026 07:28:00 GMT")) is kind


def test_a_waiting_stream_ends_in_time(pair: Pair) -> None:
    handle = pair.remote.submit("counting", {"n": 1}, thread_id="slow", at=time.time() + 3600)
    done: list[BaseException] = []

    def follow() -> None:
        try:
            [*handle.stream(timeout=0.5)]
        except PetioleError as error:
            done.append(error)

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    thread.join(25)
    assert done, "the stream outlived its timeout by far"
    assert "still waiting" in str(done[0])
    pair.remote.cancel("slow")

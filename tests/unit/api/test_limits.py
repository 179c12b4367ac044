"""What is too much: bodies, their depth, requests a second. And the headers of every answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from petiole import Client
from petiole.access.keys import Keys
from petiole.api.app import create_app
from petiole.api.limits import Bucket, depth_of
from petiole_stores.memory import MemoryStore
from petiole_workers.settings import Settings

KEY = {"name": "x", "scopes": ["read"]}


def served(store: MemoryStore | None = None, *, authenticated: bool = False, **settings: Any) -> TestClient:
    client = Client(store or MemoryStore(), broker="memory://", settings=Settings(**settings))
    return TestClient(create_app(client, authenticated=authenticated), raise_server_exceptions=False)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large_is_refused_before_a_route_sees_it(chunked: bool) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(100):
            yield b" " * 100

    with served(max_body=1000) as browser:
        body: Any = pieces() if chunked else b" " * 10_000
        answer = browser.post("/api/v1/keys", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 413
        assert "max_body" in answer.json()["detail"]
        assert browser.post("/api/v1/keys", json=KEY).status_code == 201


def test_a_body_that_nests_too_deep_is_refused() -> None:
    with served() as browser:
        body = '{"a":' * 5000 + "1" + "}" * 5000
        answer = browser.post("/api/v1/keys", content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 422
        assert "nests deeper" in answer.json()["detail"]


@given(
    st.recursive(
        st.none() | st.text() | st.integers(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=20,
    )
)
def test_depth_is_that_of_the_document(document: Any) -> None:
    def depth(value: Any) -> int:
        if isinstance(value, dict):
            return 1 + max(map(depth, value.values()), default=0)
        return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0

    assert depth_of(json.dumps(document).encode(), 1000) == depth(document)


def test_too_many_requests_are_told_when_to_come_again_and_hurt_nobody_else() -> None:
    store = MemoryStore()
    ann, bob = (Keys(store).create(name, ["admin"])[1] for name in ("ann", "bob"))
    with served(store, authenticated=True, request_rate=0.01, request_burst=3) as browser:
        answers = [browser.get("/api/v1/keys", headers={"Authorization": f"Bearer {ann}"}) for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        assert int(answers[-1].headers["retry-after"]) > 60
        assert answers[-1].json()["type"] == "RateLimitError"
        assert browser.get("/api/v1/keys", headers={"Authorization": f"Bearer {bob}"}).status_code == 200
        assert browser.get("/livez").status_code == 200


def test_a_bucket_fills_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("petiole.api.limits.time.monotonic", lambda: now[0])
    bucket = Bucket(2)
    assert [bucket.take(1, 2) for _ in range(3)] == [0, 0, 1.0]
    now[0] = 1.0
    assert bucket.take(1, 2) == 0
    now[0] = 100.0
    assert [bucket.take(1, 2) for _ in range(3)] == [0, 0, 1.0]


@pytest.mark.parametrize("path", ["/livez", "/api/v1/keys", "/nothing"])
def test_every_answer_has_the_safe_headers(path: str) -> None:
    with served() as browser:
        headers = browser.get(path).headers
        assert "script-src 'self'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert "access-control-allow-origin" not in headers
        assert "server" not in headers

"""``/livez`` and ``/readyz``: which part is missing, and how much of that is told to whom."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from petiole import Client
from petiole.access.keys import Keys
from petiole.api.app import create_app
from petiole.api.readiness import Readiness
from petiole_stores.errors import SchemaError, StoreUnavailableError
from petiole_stores.memory import MemoryStore
from tests.waiting import wait_until


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def server(store: MemoryStore, broker: str = "memory://", *, authenticated: bool = False) -> TestClient:
    app = create_app(Client(store, broker=broker), authenticated=authenticated)
    return TestClient(app, raise_server_exceptions=False)


def failing(error: Exception) -> Callable[[], None]:
    def validate() -> None:
        raise error

    return validate


def test_a_living_process_says_so(store: MemoryStore) -> None:
    answer = server(store).get("/livez")
    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


def test_a_store_of_one_process_needs_no_broker(store: MemoryStore) -> None:
    answer = server(store, "redis://127.0.0.1:1/0").get("/readyz")
    assert (answer.status_code, answer.json()["checks"]) == (200, {"store": "ok", "schema": "ok"})


@pytest.mark.parametrize(
    ("error", "checks"),
    [
        (StoreUnavailableError("db.internal:5432 is away"), {"store": "failed"}),
        (SchemaError("db.internal has schema 1"), {"store": "ok", "schema": "failed"}),
    ],
)
def test_what_is_missing_is_named(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch, error: Exception, checks: dict[str, str]
) -> None:
    monkeypatch.setattr(store, "validate", failing(error))
    answer = server(store).get("/readyz")
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["checks"] == checks
    assert str(error) in answer.json()["detail"]


def test_a_broker_that_is_away_is_named(store: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "shared", True)
    answer = server(store, "redis://:hidden@127.0.0.1:1/0").get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["checks"] == {"store": "ok", "schema": "ok", "broker": "failed"}
    assert "hidden" not in answer.text


def test_strangers_learn_which_part_and_not_where_it_is(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = Keys(store).create("probe", ["read"])[1]
    monkeypatch.setattr(store, "validate", failing(StoreUnavailableError("db.internal:5432 is away")))
    with server(store, authenticated=True) as closed:
        stranger = closed.get("/readyz")
        known = closed.get("/readyz", headers={"Authorization": f"Bearer {reader}"})
    assert stranger.status_code == known.status_code == 503
    assert "store" in stranger.json()["detail"]
    assert "db.internal" not in stranger.text
    assert "db.internal" in known.json()["detail"]


def test_a_store_that_hangs_keeps_one_thread_and_no_more(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answered = threading.Event(), threading.Event()

    def validate() -> None:
        asked.set()
        answered.wait(30)

    monkeypatch.setattr(store, "validate", validate)
    readiness = Readiness(Client(store, broker="memory://"), patience=0.01)
    first: list[Any] = []
    thread = threading.Thread(target=lambda: first.append(readiness.look()))
    thread.start()
    try:
        wait_until(asked.is_set)
        [check] = readiness.look()
        assert not check.ok
        assert "has not answered" in check.detail
    finally:
        answered.set()
        thread.join()
    assert all(check.ok for check in first[0])

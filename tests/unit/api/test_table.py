"""The table of routes: the same operations as the application's own, with the scopes that they ask for."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from petiole import Client
from petiole.access.keys import Keys
from petiole.api.app import create_app
from petiole_stores.memory import MemoryStore
from petiole_workers.settings import Settings


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def app(store: MemoryStore) -> Any:
    return create_app(Client(store, broker="memory://", settings=Settings(max_body=1000)), authenticated=True)


def test_the_table_has_every_documented_operation(app: Any) -> None:
    documented = {(m.upper(), path) for path, found in app.openapi()["paths"].items() for m in found}
    known = {(one.method, one.path.replace(":path}", "}")) for one in app.state.table.endpoints}
    assert documented <= known


def test_whoever_lacks_the_scope_hears_of_that_whatever_he_sends(app: Any, store: MemoryStore) -> None:
    token = Keys(store).create("reader", ["read"])[1]
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    bodies = (b" " * 2000, b"[" * 500, b"{", b"{}", b"")
    with TestClient(app, headers=headers) as http:
        unsafe = [one for one in app.state.table.endpoints if one.method != "GET" and one.needs]
        assert len(unsafe) > 30
        for one in unsafe:
            for body in bodies:
                answer = http.request(one.method, one.path.replace("{", "").replace("}", ""), content=body)
                assert answer.status_code == 403, (one, body, answer.text)
        assert http.post("/login", content=bodies[0]).status_code == 413

"""Schedules over HTTP, on a memory store."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from petiole.access.principal import Principal
from petiole.api import problems
from petiole.api.routes import schedules
from petiole.client import Client
from petiole_stores.items import NewItem
from petiole_stores.memory import MemoryStore
from petiole_workers.schedules.book import ROOT
from petiole_workers.settings import Settings

NIGHTLY = {
    "name": "nightly",
    "graph": "g",
    "input": {"n": 1},
    "cron": "0 3 * * *",
    "timezone": "Europe/Berlin",
}
HERE = "/api/v1/schedules"


@pytest.fixture
def http() -> Iterator[TestClient]:
    """The routes with a caller who may do everything."""
    app = FastAPI()
    with Client(MemoryStore("memory://"), settings=Settings()) as client:
        app.state.client = client
        problems.install(app)
        app.include_router(schedules.router)
        app.state.principal = Principal(name="tester", scopes=frozenset({"operate"}))

        @app.middleware("http")
        async def identify(request, call_next):  # type: ignore[no-untyped-def]
            request.state.principal = app.state.principal
            return await call_next(request)

        with TestClient(app) as made:
            yield made


def test_a_damaged_one_is_told_to_whoever_sees_all_and_deleted(http: TestClient) -> None:
    store = http.app.state.client.store  # type: ignore[attr-defined]
    http.post(HERE, json=NIGHTLY)
    [kept] = store.search_items((*ROOT, "nightly"))
    store.put_items([NewItem(kept.namespace, kept.key, "[1]")])
    told = http.get(HERE).json()
    assert told["schedules"] == []
    assert [one["name"] for one in told["damaged"]] == ["nightly"]
    become(http, Principal(name="limited", scopes=frozenset({"operate"}), graphs=("g",)))
    assert http.get(HERE).json()["damaged"] == []
    assert http.delete(f"{HERE}/nightly").status_code == 503
    become(http, Principal(name="whole", scopes=frozenset({"operate"})))
    assert http.delete(f"{HERE}/nightly").status_code == 204
    assert http.get(HERE).json() == {"schedules": [], "damaged": []}


def test_the_life_of_a_schedule(http: TestClient) -> None:
    made = http.post(HERE, json=NIGHTLY)
    assert made.status_code == 201, made.text
    assert made.json()["next_at"].endswith(("T01:00:00Z", "T02:00:00Z"))
    assert made.json() | {"x": 0} == http.get(f"{HERE}/nightly").json() | {"x": 0}
    assert [one["name"] for one in http.get(HERE).json()["schedules"]] == ["nightly"]
    changed = http.patch(f"{HERE}/nightly", json={"every": 30, "max_runs": 3}).json()
    assert (changed["cron"], changed["every"], changed["max_runs"]) == (None, 30.0, 3)
    assert http.patch(f"{HERE}/nightly", json={"max_runs": None}).json()["max_runs"] is None
    assert http.post(f"{HERE}/nightly/pause").json()["status"] == "paused"
    assert http.post(f"{HERE}/nightly/unpause").json()["status"] == "active"
    first, again = (http.post(f"{HERE}/nightly/trigger", json={"idempotency_key": "k"}) for _ in range(2))
    assert first.status_code == 202
    assert first.json() == again.json()
    assert http.delete(f"{HERE}/nightly").status_code == 204
    assert http.delete(f"{HERE}/nightly").status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "told"),
    [
        ("POST", "", NIGHTLY, 409, "nightly"),
        ("POST", "", NIGHTLY | {"name": "b", "cron": "never"}, 422, "never"),
        ("POST", "", NIGHTLY | {"name": "b", "input": None}, 422, "input is None"),
        ("POST", "", NIGHTLY | {"name": "a b"}, 422, "a b"),
        ("POST", "", NIGHTLY | {"name": "b", "colour": "red"}, 422, "colour"),
        ("PATCH", "/nightly", {"tags": None}, 422, "tags cannot be null"),
        ("PATCH", "/nightly", {"every": 0.1}, 422, "every is 0.1"),
        ("GET", "/other", None, 404, "other"),
        ("POST", "/other/trigger", None, 404, "other"),
    ],
)
def test_what_is_refused(
    http: TestClient, method: str, path: str, body: object, status: int, told: str
) -> None:
    http.post(HERE, json=NIGHTLY)
    answer = http.request(method, HERE + path, json=body)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert told in answer.json()["detail"]


def become(http: TestClient, principal: Principal) -> None:
    http.app.state.principal = principal  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "limits", [{"graphs": ("other",)}, {"namespaces": ("acme",)}, {"namespaces": ("acme",), "graphs": ("g",)}]
)
def test_whoever_is_limited_sees_no_others(http: TestClient, limits: dict[str, tuple[str, ...]]) -> None:
    http.post(HERE, json=NIGHTLY)
    become(http, Principal(name="limited", scopes=frozenset({"operate"}), **limits))
    assert http.get(HERE).json() == {"schedules": [], "damaged": []}
    for method, path in (
        ("GET", ""),
        ("PATCH", ""),
        ("DELETE", ""),
        ("POST", "/pause"),
        ("POST", "/trigger"),
    ):
        answer = http.request(method, f"{HERE}/nightly{path}", json={} if method != "GET" else None)
        assert answer.status_code == 404, (method, path)
    assert http.post(HERE, json=NIGHTLY | {"name": "b"}).status_code == 403
    own = NIGHTLY | {"name": "own", "graph": limits.get("graphs", ("g",))[0], "thread_id": "acme:1"}
    assert http.post(HERE, json=own).status_code == 201
    assert http.patch(f"{HERE}/own", json={"graph": "third", "thread_id": None}).status_code == 403
    assert [one["name"] for one in http.get(HERE).json()["schedules"]] == ["own"]


def test_readers_change_nothing(http: TestClient) -> None:
    become(http, Principal(name="reader", scopes=frozenset({"read"})))
    assert http.get(HERE).status_code == 200
    assert http.post(HERE, json=NIGHTLY).status_code == 403
    assert http.delete(f"{HERE}/nightly").status_code == 403

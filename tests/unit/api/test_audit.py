"""The audit log over HTTP and on the command line: what is recorded of whom, and who may read it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from petiole import Client, Settings
from petiole.access.keys import Keys
from petiole.api.app import create_app
from petiole.cli import main
from petiole.client import connection
from petiole_stores.memory import MemoryStore

Headers = dict[str, str]


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def server(store: MemoryStore) -> Iterator[TestClient]:
    app = create_app(Client(store, settings=Settings()), authenticated=True)
    with TestClient(app, follow_redirects=False, raise_server_exceptions=False) as found:
        yield found


@pytest.fixture
def key(store: MemoryStore) -> Callable[..., Headers]:
    def make(*scopes: str, **limits: Any) -> Headers:
        return {"Authorization": f"Bearer {Keys(store).create('k', scopes, **limits)[1]}"}

    return make


@pytest.fixture
def admin(key: Callable[..., Headers]) -> Headers:
    return key("admin")


def audit(server: TestClient, who: Headers, **query: Any) -> list[dict[str, Any]]:
    answer = server.get("/api/v1/audit", headers=who, params=query)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def test_keys_are_made_and_ended_on_record_and_never_shown(server: TestClient, admin: Headers) -> None:
    agent = admin | {"User-Agent": "console/1"}
    made = server.post("/api/v1/keys", json={"name": "n", "scopes": ["read"]}, headers=agent).json()
    for _ in range(2):
        server.delete(f"/api/v1/keys/{made['key_id']}", headers=admin)
    found = audit(server, admin, action="key")
    assert [(one["action"], one["result"]) for one in found] == [
        ("key.revoke", "already"),
        ("key.revoke", "done"),
        ("key.create", "done"),
    ]
    assert (found[2]["user_agent"], found[2]["via"], found[2]["address"]) == (
        "console/1",
        "api",
        "testclient",
    )
    assert found[2]["after"]["key_id"] == made["key_id"]
    assert found[1]["before"]["revoked_at"] is None
    assert found[1]["after"]["revoked_at"] is not None
    assert made["token"] not in json.dumps(found)


def test_what_a_small_scope_was_refused_is_on_record(
    server: TestClient, admin: Headers, key: Callable[..., Headers]
) -> None:
    reader = key("read")
    assert server.delete("/api/v1/keys/0123", headers=reader).status_code == 403
    assert server.get("/api/v1/keys", headers=reader).status_code == 403
    [found] = audit(server, admin)
    assert (found["action"], found["result"]) == ("DELETE /api/v1/keys/{key_id}", "refused")
    assert "'admin'" in found["reason"]


def test_strangers_leave_nothing_in_the_store(server: TestClient, admin: Headers) -> None:
    server.post("/api/v1/keys", json={}, headers={"Authorization": "Bearer ptl_x_y"})
    server.post("/login", data={"key": "ptl_x_y"})
    assert audit(server, admin) == []


def test_log_ins_are_on_record(server: TestClient, admin: Headers) -> None:
    token = admin["Authorization"].removeprefix("Bearer ")
    server.post("/login", data={"key": token})
    [found] = audit(server, admin)
    assert (found["action"], found["via"]) == ("session.begin", "dashboard")
    assert found["actor"] == f"key:{token.split('_')[1]}"


@pytest.mark.parametrize("path", ["/api/v1/audit", "/api/v1/audit/export"])
def test_it_is_for_administrators(server: TestClient, key: Callable[..., Headers], path: str) -> None:
    assert server.get(path, headers=key("operate")).status_code == 403
    assert server.get(path).status_code == 401


def test_who_is_limited_sees_his_own_part(
    store: MemoryStore, server: TestClient, admin: Headers, key: Callable[..., Headers]
) -> None:
    operator = key("operate")
    recording = AuditedStore(store, operator)
    recording.cancel("acme:1", "shop")
    recording.cancel("acme:2", "other")
    recording.cancel("rival:1", "shop")
    server.post("/api/v1/keys", json={"name": "n", "scopes": ["read"]}, headers=admin)
    acme = key("admin", namespaces=["acme"])
    both = key("admin", namespaces=["acme"], graphs=["shop"])

    def threads(who: Headers) -> set[str | None]:
        return {one["thread_id"] for one in audit(server, who)}

    assert threads(admin) == {"acme:1", "acme:2", "rival:1", None}
    assert threads(acme) == {"acme:1", "acme:2"}
    assert threads(both) == {"acme:1"}
    lines = server.get("/api/v1/audit/export", headers=both).text.splitlines()
    assert {json.loads(line)["thread_id"] for line in lines} == {"acme:1"}


class AuditedStore:
    """Runs that somebody cancels, recorded under his name."""

    def __init__(self, store: MemoryStore, who: Headers) -> None:
        from petiole.audit.client import AuditedClient
        from petiole.audit.entry import Origin

        actor = f"key:{who['Authorization'].split('_')[1]}"
        self._client = Client(store, settings=Settings())
        self._audited = AuditedClient(self._client, Origin(actor=actor, via="api"))

    def cancel(self, thread_id: str, graph: str) -> None:
        self._client.submit(graph, {"n": 1}, thread_id=thread_id)
        self._audited.cancel(thread_id)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"cursor": "nonsense"}, 422),
        ({"limit": "0"}, 422),
        ({"since": "yesterday"}, 422),
        ({"since": "2026-11-25T00:00:00"}, 422),
        ({"result": "none"}, 422),
        ({"thread_id": "' OR 1=1 --"}, 200),
        ({"actor": "../../etc/passwd"}, 200),
    ],
)
def test_odd_questions_get_plain_answers(
    server: TestClient, admin: Headers, query: dict[str, str], status: int
) -> None:
    answer = server.get("/api/v1/audit", headers=admin, params=query)
    assert answer.status_code == status
    if status == 422:
        assert answer.headers["content-type"] == "application/problem+json"
    else:
        assert answer.json() == {"items": [], "next": None}


@pytest.mark.parametrize("limits", [{"graphs": ["shop"]}, {"namespaces": ["acme"]}])
def test_a_limited_administrator_makes_no_key_that_reaches_further(
    store: MemoryStore,
    server: TestClient,
    admin: Headers,
    key: Callable[..., Headers],
    limits: dict[str, list[str]],
) -> None:
    limited = key("admin", **limits)
    body = {"name": "n", "scopes": ["admin"]}
    [whole] = [
        one["key_id"]
        for one in server.get("/api/v1/keys", headers=admin).json()["items"]
        if not one["graphs"] and not one["namespaces"]
    ]

    refused = server.post("/api/v1/keys", json=body, headers=limited)
    assert (refused.status_code, "limited to" in refused.json()["detail"]) == (422, True)
    assert server.post("/api/v1/keys", json=body | limits, headers=limited).status_code == 201
    assert server.delete(f"/api/v1/keys/{whole}", headers=limited).status_code == 404
    assert whole not in server.get("/api/v1/keys", headers=limited).text
    assert server.get("/api/v1/keys", headers=admin).status_code == 200


def test_the_command_line_is_recorded_and_reads_the_log(
    store: MemoryStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PETIOLE_STORE", "memory://")
    monkeypatch.setattr(connection, "open_store", lambda url: store)
    monkeypatch.setattr(store, "close", lambda: None)
    assert main(["run", "start", "g", "--input", "{}", "--thread", "t"]) == 0
    assert main(["run", "cancel", "t", "--reason", "over"]) == 0
    assert main(["run", "delete", "nowhere"]) == 0
    assert main(["run", "replay", "t"]) == 4
    capsys.readouterr()

    assert main(["audit", "export"]) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(one["action"], one["result"]) for one in found] == [
        ("run.replay", "refused"),
        ("thread.delete", "already"),
        ("run.cancel", "done"),
        ("run.submit", "done"),
    ]
    assert {one["via"] for one in found} == {"cli"}
    assert all(one["actor"].startswith("cli:") and "@" in one["actor"] for one in found)
    assert found[2]["details"] == {"reason": "over"}

    assert main(["audit", "list", "--thread", "t", "--result", "done", "-o", "jsonl"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2

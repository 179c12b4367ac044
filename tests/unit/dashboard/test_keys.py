"""API keys: made and shown once, listed, ended; for administrators alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from petiole.access.keys import Keys
from petiole.api.app import create_app
from petiole.client import Client
from petiole.testing import LocalWorker
from tests.unit.dashboard import flows
from tests.unit.dashboard.flows import HOSTILE
from tests.unit.dashboard.markup import checked

NEW = {"name": HOSTILE, "scope": ["read", "submit"], "graphs": "order, confirm", "lifetime": "30"}


@pytest.fixture
def client() -> Iterator[Client]:
    worker = LocalWorker([flows.order()])
    yield worker.client
    worker.close()


@pytest.fixture
def admin(client: Client) -> TestClient:
    return TestClient(create_app(client))


def test_a_new_key_is_shown_once_with_its_command(admin: TestClient, client: Client) -> None:
    assert "No key yet" in checked(admin.get("/keys").text).text
    answer = admin.post("/keys", data=NEW)
    page = checked(answer.text)
    [key] = Keys(client.store).list()
    assert (key.name, key.scopes, key.graphs) == (HOSTILE, ["read", "submit"], ["order", "confirm"])
    assert "--scope read --scope submit --graph order --graph confirm" in page.text
    assert "--expires 30d" in page.text
    token = next(word for word in page.text.split() if word.startswith(f"ptl_{key.key_id}_"))
    assert Keys(client.store).check(token).name == f"key:{key.key_id}"
    assert answer.headers["cache-control"] == "no-store"
    assert token not in admin.get("/keys").text


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"scope": []}, "scopes is empty"),
        ({"scope": ["all"]}, "'all'"),
        ({"name": " "}, "name is empty"),
        ({"lifetime": "1"}, "'1'"),
    ],
)
def test_what_is_wrong_is_said(
    admin: TestClient, client: Client, wrong: dict[str, object], said: str
) -> None:
    answer = admin.post("/keys", data=NEW | wrong)
    assert answer.status_code == 422
    assert said in checked(answer.text).text
    assert Keys(client.store).list() == []


def test_a_key_is_revoked(admin: TestClient, client: Client) -> None:
    key, _ = Keys(client.store).create("billing", ["read"])
    assert f"petiole key revoke {key.key_id}" in checked(admin.get("/keys").text).text
    assert "revoked" in checked(admin.post(f"/keys/{key.key_id}/revoke").text).text
    assert Keys(client.store).get(key.key_id).revoked_at is not None
    assert admin.post("/keys/nobody/revoke").status_code == 404


def test_it_is_for_administrators(client: Client) -> None:
    _, token = Keys(client.store).create("operator", ["operate"])
    browser = TestClient(create_app(client, authenticated=True), headers={"Authorization": f"Bearer {token}"})
    assert "/keys" not in checked(browser.get("/").text).links
    for answer in (browser.get("/keys"), browser.post("/keys", data=NEW), browser.post("/keys/x/revoke")):
        assert answer.status_code == 403
        assert "this needs the scope 'admin'" in checked(answer.text).text


def test_a_limited_administrator_reaches_no_further_than_his_own_key(client: Client) -> None:
    keys = Keys(client.store)
    foreign, _ = keys.create("of-others", ["admin"])
    _, token = keys.create("his", ["admin"], namespaces=["acme"])
    app = create_app(client, authenticated=True)
    limited = TestClient(app, headers={"Authorization": f"Bearer {token}"}, follow_redirects=False)
    assert "of-others" not in limited.get("/keys").text
    assert limited.post(f"/keys/{foreign.key_id}/revoke").status_code == 404
    assert keys.get(foreign.key_id).revoked_at is None
    for namespaces in ("", "acme other"):
        answer = limited.post("/keys", data={"name": "x", "scope": "admin", "namespaces": namespaces})
        assert answer.status_code == 422
        assert "is limited to acme" in checked(answer.text).text
    assert len(keys.list()) == 2
    assert limited.post("/keys", data={"name": "x", "scope": "read", "namespaces": "acme"}).status_code == 200
    assert len(keys.list()) == 3


def test_keys_made_and_ended_here_are_in_the_audit_log(admin: TestClient, client: Client) -> None:
    admin.post("/keys", data={"name": "x", "scope": "read"})
    [key] = Keys(client.store).list()
    admin.post(f"/keys/{key.key_id}/revoke")
    entries = admin.get("/api/v1/audit").json()["items"]
    assert {(entry["action"], entry["via"]) for entry in entries} == {
        ("key.create", "dashboard"),
        ("key.revoke", "dashboard"),
    }
    assert key.digest not in str(entries)

"""Who is let in: keys, sessions of browsers, and nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient

from petiole import Client
from petiole.access import sessions as session_module
from petiole.access.keys import Keys
from petiole.access.principal import AuthenticationError
from petiole.access.sessions import Sessions
from petiole.api import failures
from petiole.api.app import create_app
from petiole.api.authentication import COOKIE
from petiole_stores.memory import MemoryStore

HOST = "http://testserver"


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def browser(store: MemoryStore, *, authenticated: bool, **options: Any) -> TestClient:
    client = Client(store, broker="memory://")
    app = create_app(client, authenticated=authenticated, **options)
    return TestClient(app, base_url=HOST, follow_redirects=False, raise_server_exceptions=False)


@pytest.fixture
def closed(store: MemoryStore) -> Iterator[TestClient]:
    with browser(store, authenticated=True) as found:
        yield found


@pytest.fixture
def admin(store: MemoryStore) -> str:
    return Keys(store).create("admin", ["admin"])[1]


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def is_problem(answer: Any, status: int, words: str) -> None:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert words in answer.json()["detail"]
    assert answer.json()["status"] == status


# ---------------------------------------------------------------- tokens


def test_who_says_nothing_is_refused_and_told_how(closed: TestClient) -> None:
    answer = closed.get("/api/v1/keys")
    is_problem(answer, 401, "petiole key create")
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_health_is_for_everybody(closed: TestClient) -> None:
    assert closed.get("/livez").json() == {"status": "alive"}
    assert closed.get("/readyz").json()["status"] == "ready"


def test_a_key_opens_what_its_scope_says(closed: TestClient, store: MemoryStore, admin: str) -> None:
    assert closed.get("/api/v1/keys", headers=bearer(admin)).status_code == 200
    for scope in ("read", "submit", "operate"):
        _, token = Keys(store).create("x", [scope])
        is_problem(closed.get("/api/v1/keys", headers=bearer(token)), 403, "needs the scope 'admin'")


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("Bearer ptl_000000000000_nothing", "not known"),
        ("Bearer eyJhbGciOiJub25lIn0.e30.", "no identity provider"),
        ("Basic YTpi", "is not `Bearer"),
        ("Bearer", "is not `Bearer"),
        ("", "is not `Bearer"),
    ],
)
def test_wrong_credentials_are_refused_even_where_none_are_needed(
    store: MemoryStore, header: str, words: str
) -> None:
    for authenticated in (True, False):
        with browser(store, authenticated=authenticated) as found:
            is_problem(found.get("/api/v1/keys", headers={"Authorization": header}), 401, words)


def test_an_address_that_guesses_waits_and_proven_keys_do_not(
    closed: TestClient, store: MemoryStore, admin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failures, "RATE", 0.001)
    wrong, fresh = bearer(admin[:-4] + "AAAA"), Keys(store).create("another", ["read"])[1]
    assert closed.get("/api/v1/keys", headers=bearer(admin)).status_code == 200
    statuses = [closed.get("/api/v1/keys", headers=wrong).status_code for _ in range(int(failures.BURST) + 2)]
    assert statuses == [401] * int(failures.BURST) + [429, 429]
    answer = closed.get("/api/v1/runs", headers=bearer(fresh))
    is_problem(answer, 429, "too many wrong keys or tokens have come from testclient")
    assert int(answer.headers["retry-after"]) >= 1
    assert log_in(closed, fresh).status_code == 429
    assert closed.get("/api/v1/keys", headers=bearer(admin)).status_code == 200
    assert closed.get("/livez").status_code == 200


def test_keys_are_made_listed_and_revoked(closed: TestClient, admin: str) -> None:
    made = closed.post("/api/v1/keys", json={"name": "ci", "scopes": ["read"]}, headers=bearer(admin)).json()
    assert made["created_by"].startswith("key:")
    listed = closed.get("/api/v1/keys", headers=bearer(admin)).json()["items"]
    assert {key["name"] for key in listed} == {"ci", "admin"}
    assert "token" not in str(listed)
    assert "digest" not in str(listed)
    is_problem(closed.get("/api/v1/keys", headers=bearer(made["token"])), 403, "admin")
    gone = closed.delete(f"/api/v1/keys/{made['key_id']}", headers=bearer(admin)).json()
    assert gone["revoked_at"]
    is_problem(closed.get("/api/v1/keys", headers=bearer(made["token"])), 401, "is revoked")
    is_problem(closed.delete("/api/v1/keys/none", headers=bearer(admin)), 404, "no key 'none'")


@pytest.mark.parametrize(
    "body", [{}, {"name": "x", "scopes": ["root"]}, {"name": "x", "scopes": ["read"], "more": 1}, [], "x"]
)
def test_a_body_that_is_no_key_is_named(closed: TestClient, admin: str, body: object) -> None:
    is_problem(closed.post("/api/v1/keys", json=body, headers=bearer(admin)), 422, "body")


# ---------------------------------------------------------------- sessions


def log_in(found: TestClient, token: str, next: str = "/") -> Any:
    return found.post("/login", data={"key": token, "next": next})


def test_a_browser_without_a_session_is_led_to_the_log_in_and_back(closed: TestClient, admin: str) -> None:
    answer = closed.get("/runs?status=failed", headers={"Accept": "text/html"})
    assert answer.status_code == 303
    assert answer.headers["location"] == "/login?next=/runs%3Fstatus%3Dfailed"
    answer = log_in(closed, admin, "/runs?status=failed")
    assert answer.headers["location"] == "/runs?status=failed"
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert closed.get("/api/v1/keys").status_code == 200


@pytest.mark.parametrize("next", ["//evil.example", "https://evil.example", "/\\evil.example", "/a\nb", ""])
def test_a_log_in_leads_nowhere_else(closed: TestClient, admin: str, next: str) -> None:
    assert log_in(closed, admin, next).headers["location"] == "/"


def test_a_wrong_key_leads_back_and_sets_nothing(closed: TestClient) -> None:
    answer = log_in(closed, "ptl_000000000000_x")
    assert answer.headers["location"].startswith("/login?failed=1")
    assert "set-cookie" not in answer.headers


def test_a_cookie_that_was_tampered_with_or_is_over_is_refused(
    store: MemoryStore, closed: TestClient, admin: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cookie = log_in(closed, admin).cookies[COOKIE]
    body, signature = cookie.split(".")
    for bent in (f"{body}x.{signature}", f"{body}.{signature[:-1]}", body, f".{signature}", "é"):
        with browser(store, authenticated=True) as other:
            answer = other.get("/api/v1/keys", headers={"Cookie": f"{COOKIE}={bent}".encode("latin-1")})
            is_problem(answer, 401, "")
    monkeypatch.setattr(session_module, "LIFETIME", -1.0)
    over = Sessions(store, Keys(store)).begin(admin)
    with browser(store, authenticated=True) as other:
        is_problem(other.get("/api/v1/keys", headers={"Cookie": f"{COOKIE}={over}"}), 401, "is over")


def test_a_session_ends_with_its_key(store: MemoryStore, closed: TestClient, admin: str) -> None:
    log_in(closed, admin)
    key_id = admin.split("_")[1]
    assert closed.delete(f"/api/v1/keys/{key_id}").status_code == 200
    is_problem(closed.get("/api/v1/keys"), 401, "is revoked")


def test_a_log_out_needs_the_page_s_token(closed: TestClient, admin: str) -> None:
    log_in(closed, admin)
    is_problem(closed.post("/logout", data={"csrf": "x"}), 403, "too old")
    is_problem(closed.post("/logout"), 403, "too old")


# ---------------------------------------------------------------- other sites


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site", "Origin": HOST},
    ],
)
def test_a_page_of_another_site_changes_nothing(
    store: MemoryStore, admin: str, headers: dict[str, str]
) -> None:
    body = {"name": "x", "scopes": ["admin"]}
    with browser(store, authenticated=True) as found:
        log_in(found, admin)
        is_problem(found.post("/api/v1/keys", json=body, headers=headers), 403, "another site")
        assert found.post("/api/v1/keys", json=body, headers={"Origin": HOST}).status_code == 201
        # A token is sent by no browser by itself.
        assert found.post("/api/v1/keys", json=body, headers=headers | bearer(admin)).status_code == 201
    with browser(store, authenticated=False) as found:
        is_problem(found.post("/api/v1/keys", json=body, headers=headers), 403, "another site")
        assert found.post("/api/v1/keys", json=body).status_code == 201


def test_without_authentication_the_server_answers_to_its_own_names_alone(store: MemoryStore) -> None:
    hosts = frozenset({"localhost", "127.0.0.1", "[::1]"})
    with browser(store, authenticated=False, hosts=hosts) as found:
        for host in ("localhost:8642", "127.0.0.1", "[::1]:8642"):
            assert found.get("/livez", headers={"Host": host}).status_code == 200
        is_problem(found.get("/livez", headers={"Host": "evil.example:8642"}), 421, "'evil.example'")


def test_a_secret_of_the_settings_signs_in_place_of_the_stores(store: MemoryStore, admin: str) -> None:
    keys = Keys(store)
    with_own, other, of_store = (Sessions(store, keys, secret) for secret in ("a" * 32, "b" * 32, None))
    cookie = with_own.begin(admin)
    assert Sessions(store, keys, "a" * 32).open(cookie)[0].has("admin")
    for stranger in (other, of_store):
        with pytest.raises(AuthenticationError):
            stranger.open(cookie)

"""Who may do what, walked: every route of the API and the dashboard, asked by those who may not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from petiole.access.principal import IMPLIED, SCOPES, Principal, Scope
from petiole.api.app import create_app
from tests.unit.api.walking import ADMIN, CASES, ENDLESS, STRANGERS, World, world

ALL = [pytest.param(name, id=name) for name in CASES]
SCOPED = [pytest.param(name, id=name) for name, case in CASES.items() if case.scope]
WALKED = [pytest.param(name, id=name) for name in CASES if name not in ENDLESS]


@pytest.fixture(scope="module")
def still() -> Iterator[World]:
    """For requests that change nothing."""
    with world() as made:
        yield made


@pytest.fixture
def fresh() -> Iterator[World]:
    with world() as made:
        yield made


def lesser(scope: Scope) -> list[frozenset[Scope]]:
    """What does not take in a scope."""
    return [frozenset(), *(frozenset({one}) for one in SCOPES if scope not in IMPLIED[one])]


def test_every_route_has_its_case(still: World) -> None:
    endpoints = still.served.app.state.table.endpoints
    known = {f"{one.method} {one.path.replace(':path', '')}": one.needs for one in endpoints}
    assert known == {name: case.scope for name, case in CASES.items()}


def test_without_a_key_nothing_is_answered_but_the_way_in(still: World) -> None:
    client = still.served.client
    with TestClient(create_app(client, authenticated=True), follow_redirects=False) as http:
        before = still.kept()
        asked = World(still.served, still.names)
        for name, case in CASES.items():
            still.served.http, own = http, still.served.http
            try:
                page = asked.ask(name, case, headers={"Accept": "text/html"})
                answer = asked.ask(name, case)
            finally:
                still.served.http = own
            if name in ("GET /livez", "GET /readyz", "GET /login", "POST /login"):
                assert answer.status_code in (200, 303), name
                continue
            assert answer.status_code == 401, name
            assert answer.headers["content-type"] == "application/problem+json"
            if name.startswith("GET /") and "/api/" not in name:
                assert page.headers["location"].startswith("/login?next="), name
            else:
                assert page.status_code == 401, name
        assert still.kept() == before


@pytest.mark.parametrize("name", SCOPED)
def test_a_smaller_scope_is_refused(still: World, name: str) -> None:
    case, before = CASES[name], still.kept()
    assert case.scope is not None
    for scopes in lesser(case.scope):
        still.served.principal = Principal(name="key:small", scopes=scopes)
        answer = still.ask(name, case)
        assert answer.status_code == 403, (scopes, answer.text)
        assert not [one for one in still.secrets if one in answer.text]
    assert still.kept() == before


@pytest.mark.parametrize("name", WALKED)
def test_what_others_have_is_neither_shown_nor_touched(still: World, name: str) -> None:
    case, before = CASES[name], still.kept()
    for stranger in STRANGERS:
        still.served.principal = stranger
        answer = still.ask(name, case)
        if case.shows:
            of_graph = "{graph}" in name and stranger.graphs
            assert answer.status_code in ((404,) if of_graph else (200, 202, 303)), answer.text
            hidden = {*still.secrets, *(("theirs",) if stranger.graphs and not of_graph else ())}
            assert not [one for one in hidden if one in answer.text], answer.text
        else:
            assert answer.status_code in case.refusal, answer.text
    assert still.kept() == before


@pytest.mark.parametrize("name", WALKED)
def test_the_same_request_is_answered_to_who_may(fresh: World, name: str) -> None:
    """Else the refusals above would show nothing."""
    fresh.served.principal = ADMIN
    answer = fresh.ask(name, CASES[name])
    assert answer.status_code < 400 or name == "POST /logout", answer.text


def test_what_others_have_is_not_counted_either(still: World) -> None:
    for stranger in STRANGERS:
        still.served.principal = stranger
        assert still.served.get("/runs/counts")["total"] == 1
        everything = {"action": "cancel", "filter": {"since": "2000-01-01T00:00:00Z"}}
        assert still.served.post("/bulk", everything)["total"] == 1
        page = still.served.http.post("/bulk", data={"action": "cancel", "all": "1"})
        assert "Cancel 1 run?" in page.text
        assert not [one for one in still.secrets if one in page.text]

"""Nonsense to every route: refused in plain words, with nothing written and no error of the server's own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from tests.unit.api.walking import ADMIN, CASES, ENDLESS, Case, World, world

WALKED = [pytest.param(name, id=name) for name in CASES if name not in ENDLESS]
BODIED = [pytest.param(name, id=name) for name, case in CASES.items() if isinstance(case.json, dict)]
POSTED = [pytest.param(name, id=name) for name, case in CASES.items() if case.form is not None]

LONG = "x" * 5000
#: In addresses, as they are sent: NUL, half of a pair, what is no UTF-8, ways out of a folder, much too long, no character.
PLACES = [
    "%00",
    "a%00b",
    "%ed%a0%80",
    "%ff",
    "..%2f..%2fetc%2fpasswd",
    "%2e%2e",
    LONG,
    "%0a",
    "%20",
    "%f0%9f%92%a5",
    "*",
]
TEXTS = [*PLACES, "-1", "9" * 30, "1e999", "NaN", "1.", "null", "%5b%5d", "2030-99-99", "0" * 400]
VALUES: list[Any] = [
    None, True, -1, 0, 2**70, 1e300, "", "\0", "a\0b", "\ud800", LONG, "../../x", [], {}, [[]], [None], {"": None},
    ["\ud800"], {"\ud800": 1}, {"\0": "\0"}, {"__type__": "x"}, "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00",
]  # fmt: skip
BODIES = [
    b"", b"{", b"[]", b"null", b'"x"', b"1", b"\xff\xfe", b"\0", b'{"a": NaN}', b'{"a": 1e999}', b"[" * 90 + b"]" * 90,
    b"[" * 5000, b'{"a":' * 5000, b'{"' + b"k" * 9000 + b'": 1}', "{}".encode("utf-16"),
]  # fmt: skip


@pytest.fixture(scope="module")
def here() -> Iterator[World]:
    with world() as made:
        made.served.principal = ADMIN
        made.served.http = TestClient(made.served.app, raise_server_exceptions=False, follow_redirects=False)
        yield made


def send(here: World, name: str, address: str | None = None, **more: Any) -> Any:
    """What a request is answered: no error of the server's own, and a refusal has written nothing."""
    method, path = name.split()
    before = here.kept()
    answer = here.served.http.request(method, address or path.format_map(places(here, CASES[name])), **more)
    shown = (name, (address or "")[:200], str(more)[:300], answer.text[:300])
    assert answer.status_code < 500, shown
    if answer.status_code >= 400:
        if path.startswith("/api/"):
            assert answer.headers["content-type"] == "application/problem+json", shown
            assert answer.json()["detail"], shown
        assert here.kept() == before, shown
    return answer


def places(here: World, case: Case) -> dict[str, str]:
    """The ids in a case's address."""
    return here.names | {name: here.filled(value) for name, value in case.path.items()}


def nobody(here: World, name: str) -> dict[str, str]:
    """Ids that are nobody's, so that a request that is taken after all does not take away what others are to meet."""
    return dict.fromkeys(here.names, "nobody") | {"graph": "theirs", "run_id": "nobody"}


def asked_for(here: World, name: str) -> list[str]:
    """The names that a route takes in its query."""
    method, path = name.split()
    for router_route in here.served.app.state.table.routes:
        route: APIRoute = router_route
        if route.path.replace(":path", "") == path and method in route.methods:
            found = [*route.dependant.query_params]
            for one in route.dependant.dependencies:
                found += one.query_params
            return [field.alias for field in found]
    raise AssertionError(name)


@pytest.mark.parametrize("name", [one for one in WALKED if "{" in str(one.values[0])])
def test_no_id_in_an_address_breaks_a_route(here: World, name: str) -> None:
    case, path = CASES[name], name.split()[1]
    names = [one for one in here.names if f"{{{one}}}" in path]
    assert names
    for text in PLACES:
        for place in names:
            address = path.format_map(nobody(here, name) | {place: text})
            more: dict[str, Any] = {"json": here.filled(case.json)} if case.json is not None else {}
            answer = send(
                here, name, address, **more, **({"data": here.filled(case.form)} if case.form else {})
            )
            if text in ("%00", "a%00b", "%ed%a0%80", "%ff"):
                assert answer.status_code == 400, (name, address, answer.text[:200])


@pytest.mark.parametrize("name", [one for one in WALKED if str(one.values[0]).startswith("GET")])
def test_no_query_breaks_a_route(here: World, name: str) -> None:
    case, path = CASES[name], name.split()[1]
    address = path.format_map(places(here, case))
    needed = here.filled(case.query) or {}
    for one in asked_for(here, name):
        rest = urlencode({key: value for key, value in needed.items() if key != one})
        for text in TEXTS:
            send(here, name, f"{address}?{rest}&{quote(one)}={text}")


@pytest.mark.parametrize("name", BODIED)
def test_no_json_breaks_a_route(here: World, name: str) -> None:
    case = CASES[name]
    address = name.split()[1].format_map(nobody(here, name))
    kind = {"Content-Type": "application/json"}
    for body in BODIES:
        send(here, name, address, content=body, headers=kind)
    good = here.filled(case.json)
    send(here, name, address, content=json.dumps(good), headers={"Content-Type": "text/plain"})
    for field in good:
        for value in VALUES:
            bent = json.dumps(good | {field: value}).encode()
            send(here, name, address, content=bent, headers=kind)
            typed = {
                "Content-Type": "application/vnd.petiole.typed+json",
                "Accept": "application/vnd.petiole.typed+json",
            }
            send(here, name, address, content=bent, headers=typed)


@pytest.mark.parametrize("name", POSTED)
def test_no_form_breaks_a_page(here: World, name: str) -> None:
    case = CASES[name]
    address = name.split()[1].format_map(nobody(here, name))
    good = here.filled(case.form)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    for field in good or ["reason"]:
        rest = urlencode({key: value for key, value in good.items() if key != field})
        for text in TEXTS:
            send(here, name, address, content=f"{rest}&{field}={text}", headers=form)
    send(here, name, address, json=good)
    send(here, name, address, content=b"\xff\0", headers={"Content-Type": "multipart/form-data; boundary=x"})
    send(here, name, address, content=b"\xff\0", headers={"Content-Type": "multipart/form-data"})
    send(here, name, address, files=dict.fromkeys(good or ["reason"], ("name", b"\x00")))

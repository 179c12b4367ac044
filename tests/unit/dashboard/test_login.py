"""Logging in and out: who is nobody yet, whose key is not taken, and where one was to go."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from petiole.access.keys import Keys
from petiole.api.app import create_app
from tests.unit.dashboard.flows import HOSTILE
from tests.unit.dashboard.markup import checked
from tests.unit.dashboard.scene import Scene


@pytest.fixture
def stranger(scene: Scene) -> Iterator[TestClient]:
    """A browser without a session, before a server that wants to know who asks."""
    with TestClient(create_app(scene.client, authenticated=True), follow_redirects=False) as browser:
        yield browser


def test_nobody_is_led_to_the_form_and_back(scene: Scene, stranger: TestClient) -> None:
    sent = stranger.get("/workers?all=1", headers={"Accept": "text/html"})
    form = stranger.get(sent.headers["location"])
    [(action, fields)] = checked(form.text).forms[:1]
    assert (form.status_code, action, fields["next"]) == (200, "/login", "/workers?all=1")
    _, key = Keys(scene.client.store).create("reader", ["read"])
    entered = stranger.post(action, data=fields | {"key": key})
    assert entered.headers["location"] == "/workers?all=1"
    assert stranger.get("/login").headers["location"] == "/"


def test_a_wrong_key_is_said_to_be_wrong(stranger: TestClient) -> None:
    refused = stranger.post("/login", data={"key": "ptl_nobody_nothing", "next": "/keys"})
    answer = stranger.get(refused.headers["location"])
    page = checked(answer.text)
    assert "This key is not taken" in page.text
    assert page.forms[0][1]["next"] == "/keys"


def test_where_one_was_to_go_is_escaped(stranger: TestClient) -> None:
    answer = stranger.get("/login", params={"next": HOSTILE})
    checked(answer.text)
    assert "<script>alert" not in answer.text


def test_a_session_is_left_by_a_form_of_its_own(scene: Scene, stranger: TestClient) -> None:
    _, key = Keys(scene.client.store).create("reader", ["read"])
    stranger.post("/login", data={"key": key})
    forms = dict(checked(stranger.get("/").text).forms)
    assert stranger.post("/logout", data={"csrf": "forged"}).status_code == 403
    assert stranger.post("/logout", data=forms["/logout"]).headers["location"] == "/login"
    assert stranger.get("/", headers={"Accept": "text/html"}).status_code == 303


def test_where_authentication_is_off_there_is_nothing_to_log_in_to(browser: TestClient) -> None:
    assert browser.get("/login", follow_redirects=False).headers["location"] == "/"
    assert "Log out" not in checked(browser.get("/").text).text

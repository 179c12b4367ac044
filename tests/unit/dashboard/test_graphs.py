"""Graphs: the catalogue, one graph, and runs started from its form."""

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
from tests.unit.dashboard.scene import Scene


@pytest.fixture
def client() -> Iterator[Client]:
    """A client that has the graph ``order`` itself; ``confirm`` is served by a worker alone."""
    worker = LocalWorker([flows.order(), flows.confirm()])
    yield Client(worker.store, graphs=[flows.order()])
    worker.close()


@pytest.fixture
def knowing(client: Client) -> TestClient:
    return TestClient(create_app(client), follow_redirects=False)


def test_graphs_are_listed_with_their_runs(browser: TestClient) -> None:
    page = checked(browser.get("/graphs").text)
    assert {"/graphs/confirm", "/graphs/order", "/graphs/outer"} <= {*page.links}
    assert "/?graph=order&status=failed" in page.links


def test_a_graph_that_is_known_is_drawn_and_has_a_form_of_its_fields(knowing: TestClient) -> None:
    answer = knowing.get("/graphs/order")
    assert "flowchart" in checked(answer.text).text or "graph TD" in answer.text
    assert 'name="v.text"' in answer.text
    assert 'name="v.width"' in answer.text


def test_a_graph_that_others_serve_takes_json(knowing: TestClient) -> None:
    text = checked(knowing.get("/graphs/confirm").text).text
    assert "This server does not have the graph itself" in text
    assert "petiole run start confirm --input" in text


def test_a_run_is_started_from_the_form(knowing: TestClient, client: Client) -> None:
    filled = {"v.text": HOSTILE, "v.width": "2", "v.fail": "false", "thread_id": "shop:form", "tags": "a, b"}
    answer = knowing.post("/graphs/order/runs", data=filled)
    run = client.get_run("shop:form")
    assert answer.headers["location"] == f"/runs/{run.run_id}"
    assert client.value("shop:form", run.input) == {"text": HOSTILE, "width": 2, "fail": False}
    assert run.tags == ["a", "b"]


@pytest.mark.parametrize(
    ("filled", "status", "said"),
    [
        ({"v.width": "many"}, 422, "is no whole number"),
        ({"as": "json", "json": "{"}, 422, "not JSON"),
        ({"as": "json", "json": "[1]"}, 422, "no JSON object"),
    ],
)
def test_what_is_wrong_is_said_at_the_form(
    knowing: TestClient, client: Client, filled: dict[str, str], status: int, said: str
) -> None:
    answer = knowing.post("/graphs/order/runs", data=filled)
    assert answer.status_code == status
    assert said in checked(answer.text).text
    assert list(client.list_runs()) == []


def test_a_busy_thread_is_said_at_the_form(knowing: TestClient, client: Client) -> None:
    client.submit("confirm", {"text": "x"}, thread_id="busy")
    answer = knowing.post("/graphs/confirm/runs", data={"json": "{}", "thread_id": "busy"})
    assert answer.status_code == 409
    assert "busy" in checked(answer.text).text


def test_graphs_that_one_may_not_see_are_absent(scene: Scene) -> None:
    _, key = Keys(scene.client.store).create("one", ["submit"], graphs=["order"])
    app = create_app(scene.client, authenticated=True)
    browser = TestClient(app, headers={"Authorization": f"Bearer {key}"})
    assert "/graphs/confirm" not in checked(browser.get("/graphs").text).links
    assert browser.get("/graphs/confirm").status_code == 404
    assert browser.post("/graphs/confirm/runs", data={"json": "{}"}).status_code == 404


def test_a_reader_starts_nothing(scene: Scene) -> None:
    _, key = Keys(scene.client.store).create("reader", ["read"])
    app = create_app(scene.client, authenticated=True)
    browser = TestClient(app, headers={"Authorization": f"Bearer {key}"})
    assert "Start a run" not in checked(browser.get("/graphs/order").text).text
    assert browser.post("/graphs/order/runs", data={"json": "{}"}).status_code == 403

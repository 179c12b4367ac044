"""The HTTP API as a page: every operation, with a command that does what it says."""

from __future__ import annotations

import json
import shlex

from fastapi.testclient import TestClient

from petiole.api.app import create_app
from petiole.dashboard.reference import operations_of
from petiole.testing import LocalWorker
from tests.unit.dashboard import flows
from tests.unit.dashboard.markup import checked
from tests.unit.dashboard.scene import Scene, reader_of


def test_every_operation_is_there(browser: TestClient) -> None:
    text = checked(browser.get("/reference").text).text
    document = browser.get("/api/v1/openapi.json").json()
    for path, methods in document["paths"].items():
        if path.startswith("/api/"):
            assert path in text
            for operation in methods.values():
                assert operation["summary"] in text


def test_an_example_s_command_submits_what_it_shows() -> None:
    browser = TestClient(create_app(LocalWorker([flows.order()]).client))
    document = browser.get("/api/v1/openapi.json").json()
    operations = operations_of(document, "http://h", authenticated=False)
    submit = next(one for one in operations["runs"] if one.method == "POST")
    words = shlex.split(submit.command)
    assert words[:4] == ["curl", "-X", "POST", "http://h/api/v1/runs"]
    body = json.loads(words[-1])
    assert browser.post("/api/v1/runs", json=body).status_code == 201
    graph = next(one for one in submit.parameters if one.name == "graph")
    assert (graph.where, graph.kind, graph.required) == ("body", "string", True)


def test_every_body_has_an_example_but_a_whole_thread_s(browser: TestClient) -> None:
    document = browser.get("/api/v1/openapi.json").json()
    for found in operations_of(document, "", authenticated=False).values():
        for one in found:
            if any(it.where == "body" for it in one.parameters):
                assert ("@FILE" in one.command) == one.path.endswith("/import"), one.path


def test_with_authentication_the_command_has_the_key(scene: Scene) -> None:
    text = reader_of(scene).get("/reference").text
    assert "authorization: Bearer $PETIOLE_TOKEN" in text

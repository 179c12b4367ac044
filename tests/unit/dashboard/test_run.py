"""The pages of one run, for each way that it may stand."""

from __future__ import annotations

import json
import re
from html import unescape

import pytest
from fastapi.testclient import TestClient

from petiole.api.app import create_app
from petiole.client import Client
from petiole.testing import LocalWorker
from tests.unit.dashboard import flows
from tests.unit.dashboard.flows import HOSTILE
from tests.unit.dashboard.markup import checked
from tests.unit.dashboard.scene import Scene, reader_of

NAMES = (
    "succeeded",
    "failed",
    "interrupted",
    "confirm",
    "nested",
    "cancelled",
    "waiting",
    "paused",
    "queued",
)


def shape_in(text: str) -> dict[str, dict[str, object]]:
    """The boxes of the graph that a page carries, by their ids."""
    document = unescape(text.partition('data-graph="')[2].partition('"')[0])
    return {box["id"]: box for box in json.loads(document)["boxes"]}


@pytest.mark.parametrize("view", ["", "/checkpoints", "/events", "/logs", "/explain"])
@pytest.mark.parametrize("name", NAMES)
def test_each_view_shows_each_run(browser: TestClient, scene: Scene, name: str, view: str) -> None:
    answer = browser.get(f"/runs/{scene.runs[name]}{view}")
    assert answer.status_code == 200
    page = checked(answer.text)
    assert f"shop:{name}" in page.text
    assert scene.client.get_run(scene.runs[name]).status in page.text
    assert "<script>alert" not in answer.text


def test_where_it_failed_is_said_with_node_attempt_error_and_input(browser: TestClient, scene: Scene) -> None:
    text = " ".join(checked(browser.get(f"/runs/{scene.runs['failed']}").text).text.split())
    assert "Failed in check, attempt 2" in text
    assert f"ValueError cannot check {HOSTILE}" in text
    assert "Traceback (most recent call last)" in text
    assert '"fail": true' in text
    assert "petiole run replay shop:failed --from check" in text


def test_the_graph_has_each_nodes_status_and_counts(browser: TestClient, scene: Scene) -> None:
    boxes = shape_in(browser.get(f"/runs/{scene.runs['succeeded']}").text)
    assert {boxes[node]["status"] for node in ("read", "check", "approve", "part", "finish")} == {"done"}
    assert boxes["part"]["counts"] == {"done": 20}
    boxes = shape_in(browser.get(f"/runs/{scene.runs['failed']}").text)
    assert (boxes["check"]["status"], boxes["approve"]["status"]) == ("failed", "")
    boxes = shape_in(browser.get(f"/runs/{scene.runs['nested']}").text)
    assert boxes["write:draft"]["group"] == ["write"]
    assert boxes["write:polish"]["status"] == "done"


def test_a_graph_that_the_server_does_not_know_is_drawn_from_its_tasks(scene: Scene) -> None:
    with Client(scene.worker.store) as client:
        text = TestClient(create_app(client)).get(f"/runs/{scene.runs['succeeded']}").text
    assert "this server does not know the graph" in text
    assert {"read", "check", "approve", "part", "finish"} <= {*shape_in(text)}


def test_many_tasks_of_a_node_are_one_row_and_a_page_of_their_own() -> None:
    with LocalWorker([flows.order()]) as worker:
        wide = worker.client.submit("order", {"text": "wide", "width": 120})
        worker.run_until_idle()
        browser = TestClient(create_app(worker.client))
        look_at_many(browser, wide.run_id)


def look_at_many(browser: TestClient, run_id: str) -> None:
    page = checked(browser.get(f"/runs/{run_id}").text)
    assert "\N{MULTIPLICATION SIGN}120: 120 done" in page.text
    assert len([id for id in page.ids if id.startswith("task-")]) == 4
    [link] = [link for link in page.links if "/waterfall?" in link]
    first = checked(browser.get(link).text)
    assert len([id for id in first.ids if id.startswith("task-")]) == 100
    [more] = [link for link in first.links if "cursor=" in link]
    rest = checked(browser.get(more).text)
    assert len([id for id in rest.ids if id.startswith("task-")]) == 20


def test_a_task_has_its_tries_and_its_input(browser: TestClient, scene: Scene) -> None:
    task = next(one for one in scene.client.tasks(scene.runs["failed"]) if one.node == "check")
    text = checked(browser.get(f"/runs/{scene.runs['failed']}/tasks/{task.task_id}").text).text
    assert "attempt 1" in text
    assert HOSTILE in text
    assert browser.get(f"/runs/{scene.runs['failed']}/tasks/none").status_code == 404


def test_a_checkpoint_shows_what_it_changed(browser: TestClient, scene: Scene) -> None:
    run_id = scene.runs["succeeded"]
    links = checked(browser.get(f"/runs/{run_id}/checkpoints").text).links
    newest = next(link for link in links if "/checkpoints/" in link)
    page = checked(browser.get(newest).text)
    assert "± text" in page.text
    assert "tea!" in page.text
    assert "20 parts" in page.text
    assert browser.get(f"/runs/{run_id}/checkpoints/none").status_code == 404


def test_a_thread_leads_to_its_newest_run(browser: TestClient, scene: Scene) -> None:
    answer = browser.get("/threads/shop:paused", follow_redirects=False)
    assert answer.headers["location"] == f"/runs/{scene.runs['paused']}"
    assert browser.get("/threads/none").status_code == 404
    assert browser.get(f"/runs/{'<script>'}").status_code == 404


def test_what_is_not_a_readers_to_see_is_not_found(scene: Scene) -> None:
    reader = reader_of(scene, graphs=["outer"])
    assert reader.get(f"/runs/{scene.runs['nested']}").status_code == 200
    assert 'method="post"' not in reader.get(f"/runs/{scene.runs['nested']}").text
    for path in ("", "/checkpoints", "/events", "/logs", "/explain", "/waterfall?node=part"):
        assert reader.get(f"/runs/{scene.runs['failed']}{path}").status_code == 404
    assert reader.get("/threads/shop:failed").status_code == 404
    assert reader.post(f"/runs/{scene.runs['nested']}/cancel").status_code == 403


def test_pages_follow_the_server_and_offer_the_export(scene: Scene, browser: TestClient) -> None:
    assert 'data-events="/api/v1/events"' in browser.get("/").text
    open_run, failed = scene.runs["paused"], scene.runs["failed"]
    assert f'data-events="/api/v1/runs/{open_run}/events' in browser.get(f"/runs/{open_run}").text
    assert f'href="/api/v1/runs/{failed}/export"' in browser.get(f"/runs/{failed}").text


def test_in_the_waterfall_the_try_that_failed_is_red_and_the_wait_before_it_is_not(
    browser: TestClient, scene: Scene
) -> None:
    text = browser.get(f"/runs/{scene.runs['failed']}").text
    assert {'class="seg queue"', 'class="seg failed"', 'class="seg run"'} <= set(
        re.findall(r'class="seg[^"]*"', text)
    )
    assert 'class="seg queue failed"' not in text

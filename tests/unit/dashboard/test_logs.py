"""Logs on the pages of a run and of a task."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from petiole import RunHandle
from petiole.access.keys import Keys
from petiole.api.app import create_app
from petiole.dashboard.pages import logs, run
from petiole.testing import LocalWorker
from tests.unit.chatty import NASTY, chatty
from tests.unit.dashboard.markup import checked
from tests.unit.dashboard.scene import Scene


@pytest.fixture(scope="module")
def worker() -> Iterator[LocalWorker]:
    with LocalWorker([chatty()]) as made:
        yield made


@pytest.fixture(scope="module")
def handle(worker: LocalWorker) -> RunHandle:
    made = worker.client.submit("chatty", {"n": 7}, thread_id="acme:1")
    worker.run_until_idle()
    return made


@pytest.fixture
def chat(worker: LocalWorker) -> TestClient:
    return TestClient(create_app(worker.client))


def test_a_run_shows_what_its_nodes_have_logged(chat: TestClient, handle: RunHandle) -> None:
    answer = chat.get(f"/runs/{handle.run_id}/logs")
    page = checked(answer.text)
    said = " ".join(page.text.split())
    assert said.count("charging 7 cents") == 2
    assert "ConnectionError: the bank is away" in said
    assert NASTY in page.text
    assert "<script>alert" not in answer.text
    assert page.text.index("refused") < page.text.index("attempt 2") < page.text.index("alert(1)")
    assert 'aria-current="page" data-offer="Logs of this run"' in answer.text


def test_levels_and_nodes_narrow_it(chat: TestClient, handle: RunHandle) -> None:
    base = f"/runs/{handle.run_id}/logs"
    assert "charging" not in checked(chat.get(base, params={"level": "WARNING"}).text).text
    only = checked(chat.get(base, params={"node": "ship"}).text)
    assert "alert(1)" in only.text
    assert "refused" not in only.text
    assert f"{base}?level=ERROR&node=ship" in only.links
    assert f"{base}?node=charge" in only.links
    assert "No record matches" in chat.get(base, params={"level": "ERROR", "node": "ship"}).text
    assert "No record matches" in chat.get(base, params={"node": '"><script>'}).text
    assert chat.get(base, params={"level": "loud"}).status_code == 422
    assert chat.get(base, params={"cursor": "x"}).status_code == 422


def test_pages_follow_each_other(
    chat: TestClient, handle: RunHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "PAGE", 3)
    first = checked(chat.get(f"/runs/{handle.run_id}/logs", params={"level": "INFO"}).text)
    assert "alert(1)" not in first.text
    [later] = [link for link in first.links if "cursor=" in link]
    assert "level=INFO" in later
    rest = checked(chat.get(later).text)
    assert "alert(1)" in rest.text
    assert not [link for link in rest.links if "cursor=" in link]


def test_a_task_shows_its_attempts_own(
    chat: TestClient, worker: LocalWorker, handle: RunHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    tasks = {task.node: task.task_id for task in worker.client.tasks(handle.run_id) if task.kind == "node"}
    charge, ship = (f"/runs/{handle.run_id}/tasks/{tasks[node]}" for node in ("charge", "ship"))
    page = checked(chat.get(charge).text)
    assert page.text.count("charging 7 cents") == 2
    assert "attempt 2" in page.text
    assert "alert(1)" not in page.text
    assert f"petiole run logs acme:1 --task {tasks['charge']}" in page.text
    answer = chat.get(ship)
    assert "alert(1)" in checked(answer.text).text
    assert "<script>alert" not in answer.text
    monkeypatch.setattr(run, "LOGS", 1)
    [more] = [link for link in checked(chat.get(charge).text).links if "/logs?task_id=" in link]
    assert checked(chat.get(more).text).text.count("charging 7 cents") == 2


def test_events_leave_them_to_their_own_page(chat: TestClient, handle: RunHandle) -> None:
    assert "charging" not in chat.get(f"/runs/{handle.run_id}/events").text


def test_a_run_without_says_what_to_do(browser: TestClient, scene: Scene) -> None:
    text = checked(browser.get(f"/runs/{scene.runs['succeeded']}/logs").text).text
    assert "No node has logged anything" in text
    assert "logging.getLogger(__name__).info" in text
    assert "petiole run logs shop:succeeded --follow" in text
    task = next(one for one in scene.client.tasks(scene.runs["succeeded"]) if one.node == "read")
    assert (
        "node_logs" in checked(browser.get(f"/runs/{scene.runs['succeeded']}/tasks/{task.task_id}").text).text
    )


def test_a_long_message_and_an_unknown_level_are_shown(worker: LocalWorker, chat: TestClient) -> None:
    graph = chatty()
    bank = logging.getLogger("shop.bank")
    filter = lambda record: setattr(record, "msg", "x" * 20_000) or setattr(record, "args", ()) or True  # noqa: E731
    bank.addFilter(filter)
    logging.addLevelName(20, "<NOTE>")
    try:
        handle = worker.client.submit(graph, {"n": 1})
        worker.run_until_idle()
    finally:
        bank.removeFilter(filter)
        logging.addLevelName(20, "INFO")
    answer = chat.get(f"/runs/{handle.run_id}/logs")
    page = checked(answer.text)
    assert "characters cut" in page.text
    assert "<NOTE>" in page.text
    assert "<NOTE>" not in answer.text


def test_a_key_for_other_graphs_sees_none(worker: LocalWorker, handle: RunHandle) -> None:
    _, token = Keys(worker.store).create("reader", ["read"], graphs=["other"])
    app = create_app(worker.client, authenticated=True)
    reader = TestClient(app, headers={"Authorization": f"Bearer {token}"})
    assert reader.get(f"/runs/{handle.run_id}/logs").status_code == 404

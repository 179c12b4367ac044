"""Dead letters: listed with what failed, replayed and dropped."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from petiole.access.keys import Keys
from petiole.api.app import create_app
from petiole.testing import LocalWorker
from tests.unit.dashboard import flows
from tests.unit.dashboard.flows import HOSTILE
from tests.unit.dashboard.markup import checked
from tests.unit.dashboard.scene import Scene


@pytest.fixture
def worker() -> Iterator[LocalWorker]:
    """A worker that has failed one run."""
    with LocalWorker([flows.order()]) as made:
        made.client.submit("order", {"text": HOSTILE, "fail": True}, thread_id="shop:broken")
        made.run_until_idle()
        yield made


def test_they_are_listed_with_error_and_commands(worker: LocalWorker) -> None:
    [letter] = worker.client.dead_letters()
    answer = TestClient(create_app(worker.client)).get("/dead-letters")
    page = checked(answer.text)
    assert f"cannot check {HOSTILE}" in page.text
    assert f"petiole dlq replay {letter.task.task_id}" in page.text
    assert "Traceback" in page.text
    assert "<script>alert" not in answer.text


@pytest.mark.parametrize(
    ("query", "there"),
    [
        ({"graph": "order"}, True),
        ({"graph": "other"}, False),
        ({"node": "check"}, True),
        ({"error": "KeyError"}, False),
        ({"poison": "1"}, False),
    ],
)
def test_they_are_narrowed(browser: TestClient, query: dict[str, str], there: bool) -> None:
    text = checked(browser.get("/dead-letters", params=query).text).text
    assert ("shop:failed" in text) is there
    assert ("No dead letter matches" in text) is not there


def test_what_is_ticked_is_replayed(worker: LocalWorker) -> None:
    [letter] = worker.client.dead_letters()
    browser = TestClient(create_app(worker.client))
    name = f"{letter.run.run_id}/{letter.task.task_id}"
    page = checked(browser.post("/dead-letters", data={"letter": name, "action": "replay"}).text)
    assert "No dead letters" in page.text
    assert worker.client.get_run("shop:broken").status == "queued"


def test_a_drop_is_shown_first_and_done_when_it_is_confirmed(worker: LocalWorker) -> None:
    [letter] = worker.client.dead_letters()
    browser = TestClient(create_app(worker.client))
    name = f"{letter.run.run_id}/{letter.task.task_id}"
    asked = checked(browser.post("/dead-letters", data={"letter": name, "action": "drop"}).text)
    assert "Drop 1 dead letter?" in asked.text
    assert f"petiole dlq drop {letter.task.task_id}" in asked.text
    assert [*worker.client.dead_letters()] != []
    [fields] = [fields for action, fields in asked.forms if action == "/dead-letters"]
    page = checked(browser.post("/dead-letters", data=fields).text)
    assert "No dead letters" in page.text
    assert worker.client.get_run("shop:broken").status == "failed"


@pytest.mark.parametrize("form", [{"action": "replay"}, {"action": "burn", "letter": "x/y"}])
def test_what_makes_no_sense_is_refused(worker: LocalWorker, form: dict[str, str]) -> None:
    assert TestClient(create_app(worker.client)).post("/dead-letters", data=form).status_code in (404, 422)


def test_others_see_none_and_readers_change_none(scene: Scene) -> None:
    kept = Keys(scene.client.store)
    app = create_app(scene.client, authenticated=True)
    _, elsewhere = kept.create("elsewhere", ["operate"], namespaces=["elsewhere"])
    _, reader = kept.create("reader", ["read"])
    [letter] = scene.client.dead_letters()
    form = {"letter": f"{letter.run.run_id}/{letter.task.task_id}", "action": "drop"}
    for key, status in ((elsewhere, 404), (reader, 403)):
        browser = TestClient(app, headers={"Authorization": f"Bearer {key}"})
        assert browser.post("/dead-letters", data=form).status_code == status
    assert (
        "shop:"
        not in TestClient(app, headers={"Authorization": f"Bearer {elsewhere}"}).get("/dead-letters").text
    )

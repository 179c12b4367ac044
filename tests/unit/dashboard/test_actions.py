"""What the forms of the pages do: each is filled in as a browser without scripts does it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from petiole.api.app import create_app
from tests.unit.dashboard.markup import checked
from tests.unit.dashboard.scene import Scene, make_scene
from tests.waiting import wait_until


@pytest.fixture
def own() -> Iterator[Scene]:
    """Runs that the test may change."""
    made = make_scene(width=2)
    yield made
    made.worker.close()


@pytest.fixture
def user(own: Scene) -> TestClient:
    return TestClient(create_app(own.client))


def status(scene: Scene, name: str) -> str:
    return scene.client.get_run(scene.runs[name]).status


def send(user: TestClient, page: str, action: str, **filled: object) -> str:
    """Send the form of a page with its hidden fields, and give where it leads."""
    for found, fields in checked(user.get(page).text).forms:
        hidden = {name: value for name, value in fields.items() if name not in filled}
        if found == action and all(fields.get(key, value) in ("", value) for key, value in filled.items()):
            answer = user.post(action, data=hidden | filled, follow_redirects=False)
            assert answer.status_code == 303, answer.text
            return answer.headers["location"]
    raise AssertionError(f"{page} has no form {action} with {filled}")


def test_a_paused_run_goes_on_and_a_queued_one_is_paused_and_cancelled(own: Scene, user: TestClient) -> None:
    paused, queued = f"/runs/{own.runs['paused']}", f"/runs/{own.runs['queued']}"
    assert send(user, paused, f"{paused}/unpause") == paused
    assert status(own, "paused") == "queued"
    send(user, queued, f"{queued}/pause", reason="lunch")
    assert "lunch" in checked(user.get(queued).text).text
    send(user, queued, f"{queued}/cancel", reason="enough")
    assert status(own, "queued") == "cancelled"
    again = user.post(f"/runs/{own.runs['succeeded']}/cancel")
    assert again.status_code == 409
    checked(again.text)


@pytest.mark.parametrize("what", ["failed", "downstream", "all"])
def test_a_failed_run_is_replayed_three_ways(own: Scene, user: TestClient, what: str) -> None:
    page = f"/runs/{own.runs['failed']}"
    led = send(user, page, f"{page}/replay", what=what)
    assert (led == page) is (what == "failed")
    assert own.client.get_run(led.removeprefix("/runs/")).status in ("queued", "running")


def test_a_question_with_a_schema_is_answered_by_its_fields(own: Scene, user: TestClient) -> None:
    page = f"/runs/{own.runs['interrupted']}"
    filled = {"v.approved": "true", "v.amount": "12", "v.speed": '"fast"', "v.note": ""}
    send(user, page, f"{page}/resume", **filled)
    own.worker.run_until_idle()
    assert status(own, "interrupted") == "succeeded"
    assert own.client.state("shop:interrupted")["answer"] == {
        "approved": True,
        "amount": 12,
        "speed": "fast",
    }


@pytest.mark.parametrize(
    ("filled", "said"),
    [
        ({"v.approved": "maybe"}, "Approved is neither true nor false"),
        ({}, "Approved is needed"),
        ({"v.approved": "true", "v.amount": "1.5"}, "Amount is no whole number"),
        ({"v.approved": "true", "v.amount": "-1"}, "Amount is below 0"),
        ({"v.approved": "true", "v.speed": '"warp"'}, "Speed is none of the choices"),
    ],
)
def test_an_answer_that_does_not_fit_is_shown_again_with_what_is_wrong(
    own: Scene, user: TestClient, filled: dict[str, str], said: str
) -> None:
    page = f"/runs/{own.runs['interrupted']}"
    [question] = own.client.interrupts("shop:interrupted")
    answer = user.post(f"{page}/resume", data={"id": question.id, **filled})
    assert answer.status_code == 422
    assert said in checked(answer.text).text
    assert status(own, "interrupted") == "interrupted"


@pytest.mark.parametrize(
    ("filled", "answer"),
    [({"answer": "true"}, True), ({"answer": "false"}, False), ({"value": '{"a": [1]}'}, {"a": [1]})],
)
def test_a_question_without_one_is_answered_by_a_button_or_json(
    own: Scene, user: TestClient, filled: dict[str, str], answer: object
) -> None:
    page = f"/runs/{own.runs['confirm']}"
    [question] = own.client.interrupts("shop:confirm")
    wrong = user.post(f"{page}/resume", data={"id": question.id, "value": "{no"})
    assert (wrong.status_code, "not JSON" in checked(wrong.text).text) == (422, True)
    user.post(f"{page}/resume", data={"id": question.id, **filled})
    own.worker.run_until_idle()
    assert own.client.state("shop:confirm")["answer"] == answer
    assert user.post(f"{page}/resume", data={"id": question.id, **filled}).status_code == 409


def test_a_fork_goes_on_from_an_edited_state(own: Scene, user: TestClient) -> None:
    run = own.runs["succeeded"]
    point = next(one for one in own.client.list_checkpoints("shop:succeeded") if one.next == ("check",))
    page = f"/runs/{run}/checkpoints/{point.id}"
    wrong = user.post(f"/runs/{run}/fork", data={"checkpoint": point.id, "values": "[1]"})
    assert (wrong.status_code, "not an object" in checked(wrong.text).text) == (422, True)
    led = send(user, page, f"/runs/{run}/fork", values='{"width": 5}')
    own.worker.run_until_idle()
    assert own.client.get_run(led.removeprefix("/runs/")).status == "succeeded"
    assert own.client.state("shop:succeeded")["text"] == "5 parts"


def test_many_are_counted_first_and_then_treated(own: Scene, user: TestClient) -> None:
    asked = checked(user.post("/bulk", data={"action": "cancel", "all": "1", "graph": "order"}).text)
    assert "Cancel 4 runs?" in asked.text
    assert "petiole run cancel --graph order --yes" in asked.text
    [(action, fields)] = [form for form in asked.forms if form[0] == "/bulk/start"]
    led = user.post(action, data=fields | {"reason": "sold out"}, follow_redirects=False).headers["location"]
    wait_until(lambda: "Cancelled 4 runs" in user.get(led).text, message="the job has not ended")
    checked(user.get(led).text)
    names = ("interrupted", "waiting", "paused", "queued", "confirm", "failed")
    assert [status(own, name) for name in names] == ["cancelled"] * 4 + ["interrupted", "failed"]
    assert user.get("/bulk/none").status_code == 404
    again = user.post(action, data=fields | {"reason": "sold out"}, follow_redirects=False)
    assert again.headers["location"] == led  # the form sent twice begins one job
    assert user.get(f"/api/v1{led}").json()["reason"] == "sold out"
    assert led in checked(user.get("/bulk").text).links
    elsewhere = TestClient(create_app(own.client))
    assert "Cancelled 4 runs" in elsewhere.get(led).text
    assert user.post(f"{led}/cancel").status_code == 409


def test_selected_runs_are_replayed_and_the_others_stay(own: Scene, user: TestClient) -> None:
    chosen = {"action": "replay", "run": [own.runs["failed"], own.runs["cancelled"]]}
    asked = checked(user.post("/bulk", data=chosen).text)
    assert "Replay 1 failed run?" in asked.text
    led = user.post("/bulk/start", data=chosen | {"seen": "1"}, follow_redirects=False)
    wait_until(
        lambda: "Replayed 1 run" in user.get(led.headers["location"]).text, message="the job has not ended"
    )
    assert (status(own, "failed"), status(own, "cancelled")) == ("queued", "cancelled")
    for seen in ("nan", "inf", "x", ""):
        assert user.post("/bulk/start", data=chosen | {"seen": seen}).status_code == 422
    assert user.post("/bulk", data={"action": "replay"}).status_code == 422
    assert user.post("/bulk", data={"action": "delete", "all": "1"}).status_code == 422


@pytest.mark.parametrize(
    "headers", [{"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}]
)
def test_a_form_of_another_site_changes_nothing(
    own: Scene, user: TestClient, headers: dict[str, str]
) -> None:
    answer = user.post(f"/runs/{own.runs['queued']}/cancel", headers=headers)
    assert answer.status_code == 403
    assert status(own, "queued") == "queued"


@pytest.mark.parametrize(
    ("posted", "page"),
    [
        ("/runs/r-1/resume", "/runs/r-1"),
        ("/runs/r-1/fork", "/runs/r-1"),
        ("/graphs/order/runs", "/graphs/order"),
        ("/schedules/nightly", "/schedules"),
        ("/keys/k-1/revoke", "/keys"),
    ],
)
def test_the_address_of_a_form_leads_to_its_page_when_it_is_loaded_again(
    user: TestClient, posted: str, page: str
) -> None:
    answer = user.get(posted, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, page)


def test_the_first_field_that_is_wrong_has_the_focus(own: Scene, user: TestClient) -> None:
    [question] = own.client.interrupts("shop:interrupted")
    filled = {"id": question.id, "v.amount": "1.5", "v.speed": '"warp"'}
    text = user.post(f"/runs/{own.runs['interrupted']}/resume", data=filled).text
    assert text.count("aria-invalid") == 3
    assert text.count("autofocus") == 1

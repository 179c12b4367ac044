"""The list of runs: what it shows, narrows and refuses."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from petiole.access.keys import Keys
from petiole.api.app import create_app
from petiole.dashboard.assets import fingerprint, url_of
from tests.unit.dashboard.flows import HOSTILE
from tests.unit.dashboard.markup import checked
from tests.unit.dashboard.scene import Scene


def test_every_run_is_listed_with_its_status(browser: TestClient, scene: Scene) -> None:
    answer = browser.get("/")
    page = checked(answer.text)
    for name, run_id in scene.runs.items():
        assert f"shop:{name}" in page.text
        assert f"/runs/{run_id}" in page.links
    assert "stocktaking" in page.text
    assert f"ValueError: cannot check {HOSTILE}" in page.text
    assert "<script>alert" not in answer.text


def test_what_a_page_may_load_is_this_server_alone(browser: TestClient) -> None:
    policy = browser.get("/").headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'self';" in policy
    assert "unsafe" not in policy


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({"status": "failed"}, {"failed"}),
        ({"status": ["failed", "paused"]}, {"failed", "paused"}),
        ({"graph": "outer"}, {"nested"}),
        ({"tag": "eu"}, {"succeeded"}),
        ({"text": "CONFIRM"}, {"confirm"}),
        ({"error": "ValueError"}, {"failed"}),
        ({"thread": "shop:queued"}, {"queued"}),
        ({"since": "1h", "status": "waiting"}, {"waiting"}),
        ({"until": "2001-01-01"}, set()),
    ],
)
def test_it_is_narrowed_by_its_address(
    browser: TestClient, scene: Scene, query: dict[str, str | list[str]], names: set[str]
) -> None:
    links = checked(browser.get("/", params=query).text).links
    assert {name for name, run_id in scene.runs.items() if f"/runs/{run_id}" in links} == names


@pytest.mark.parametrize(
    ("query", "said"), [({"status": "lost"}, "no status 'lost'"), ({"since": "soon"}, "'soon' is no time")]
)
def test_a_filter_that_makes_no_sense_is_a_page_that_says_so(
    browser: TestClient, query: dict[str, str], said: str
) -> None:
    answer = browser.get("/", params=query)
    assert answer.status_code == 422
    assert said in checked(answer.text).text


@pytest.mark.parametrize(
    ("query", "asks"), [({"tag": "eu"}, 0), ({"text": "no such run"}, 0), ({"status": "failed"}, 1)]
)
def test_counts_that_came_with_the_page_are_not_asked_for(
    browser: TestClient, scene: Scene, monkeypatch: pytest.MonkeyPatch, query: dict[str, str], asks: int
) -> None:
    store, asked = scene.client.store, []
    count = store._count_runs
    monkeypatch.setattr(store, "_count_runs", lambda filter: asked.append(filter) or count(filter))
    assert browser.get("/", params=query).status_code == 200
    assert len(asked) == asks


def test_an_empty_list_says_what_to_do(browser: TestClient) -> None:
    text = checked(browser.get("/", params={"text": "no such run", "graph": HOSTILE}).text).text
    assert "No run matches" in text
    assert "petiole run list" in text


def test_a_page_that_has_not_changed_is_not_sent_again(browser: TestClient) -> None:
    etag = browser.get("/").headers["etag"]
    assert browser.get("/", headers={"If-None-Match": etag}).status_code == 304
    assert browser.get("/?status=failed", headers={"If-None-Match": etag}).status_code == 200


def test_assets_are_addressed_by_their_content(browser: TestClient) -> None:
    answer = browser.get(url_of("js/app.js"))
    assert "immutable" in answer.headers["cache-control"]
    assert "javascript" in answer.headers["content-type"]
    assert browser.get(f"/static/{fingerprint()}/%2e%2e/router.py").status_code == 404


def test_a_reader_sees_his_namespaces_alone(scene: Scene) -> None:
    _, key = Keys(scene.client.store).create("reader", ["read"], namespaces=["elsewhere"])
    with TestClient(create_app(scene.client, authenticated=True)) as browser:
        text = checked(browser.get("/", headers={"Authorization": f"Bearer {key}"}).text).text
    assert "shop:" not in text
    assert "Cancel…" not in text


def test_a_run_that_is_not_to_start_yet_says_when(browser: TestClient, scene: Scene) -> None:
    def note(name: str) -> bool:
        return "starts <time" in browser.get("/", params={"thread": f"shop:{name}"}).text

    assert note("waiting")
    assert not note("queued")

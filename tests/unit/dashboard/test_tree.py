"""The fork tree of a thread: where it forked, and where each checkpoint leads."""

from __future__ import annotations

from fastapi.testclient import TestClient

from petiole.access.keys import Keys
from petiole.api.app import create_app
from petiole.dashboard.pages.tree import rows_of
from petiole.testing import LocalWorker
from tests.unit.dashboard import flows
from tests.unit.dashboard.markup import checked
from tests.unit.dashboard.scene import Scene


def test_a_fork_is_a_lane_that_joins_where_it_began() -> None:
    with LocalWorker([flows.order()]) as worker:
        worker.client.submit("order", {"text": "tea", "width": 1}, thread_id="forked")
        worker.run_until_idle()
        second = worker.client.store.list_checkpoints("forked", brief=True)[-2]
        worker.client.fork("forked", second.checkpoint_id)
        worker.run_until_idle()
        found = worker.client.store.list_checkpoints("forked", brief=True)
        rows = {row.checkpoint.checkpoint_id: row for row in rows_of(found)}
        assert [id for id, row in rows.items() if row.joining] == [second.checkpoint_id]
        assert {row.lane for row in rows.values()} == {0, 1}
        page = checked(TestClient(create_app(worker.client)).get("/threads/forked/tree").text)
        assert f"{len(found)} checkpoints, 1 fork" in page.text
        assert {f"/runs/{one.run_id}/checkpoints/{one.checkpoint_id}" for one in found} <= {*page.links}


def test_what_is_not_there_or_not_seen_is_not_found(browser: TestClient, scene: Scene) -> None:
    assert browser.get("/threads/nothing/tree").status_code == 404
    _, key = Keys(scene.client.store).create("elsewhere", ["read"], namespaces=["elsewhere"])
    app = create_app(scene.client, authenticated=True)
    answer = TestClient(app, headers={"Authorization": f"Bearer {key}"}).get("/threads/shop:succeeded/tree")
    assert answer.status_code == 404


def test_a_fan_out_s_node_is_named_once_with_its_number(browser: TestClient, scene: Scene) -> None:
    for path in ("/threads/shop:succeeded/tree", f"/runs/{scene.runs['succeeded']}/checkpoints"):
        text = " ".join(checked(browser.get(path).text).text.split())
        assert "part ×20" in text, path
        assert "part, part" not in text, path


def test_an_interrupted_task_that_was_cancelled_did_not_run_until_then() -> None:
    with LocalWorker([flows.order()]) as worker:
        worker.client.submit("order", {"text": "a boat", "ask": True}, thread_id="asked")
        worker.run_until_idle()
        worker.client.cancel("asked")
        text = TestClient(create_app(worker.client)).get("/threads/asked").text
        assert 'class="seg run cancelled"' in text

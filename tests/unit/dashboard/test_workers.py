"""Workers and queues: who is alive, what he holds, what waits."""

from __future__ import annotations

from fastapi.testclient import TestClient

from petiole.access.keys import Keys
from petiole.api.app import create_app
from petiole.testing import LocalWorker
from tests.unit.dashboard import flows
from tests.unit.dashboard.markup import checked
from tests.unit.dashboard.scene import Scene


def test_workers_and_queues_are_told(browser: TestClient, scene: Scene) -> None:
    page = checked(browser.get("/workers").text)
    [worker] = scene.client.workers()
    assert f"/workers/{worker.worker_id}" in page.links
    assert "0 of 1 slots busy" in page.text
    assert "1 task waits for a worker" in page.text


def test_a_worker_is_told_with_its_lease_and_graphs(browser: TestClient, scene: Scene) -> None:
    [worker] = scene.client.workers()
    page = checked(browser.get(f"/workers/{worker.worker_id}").text)
    assert worker.name in page.text
    assert "/graphs/order" in page.links
    assert browser.get("/workers/nobody").status_code == 404


def test_what_a_worker_holds_is_found_by_those_who_may_see_it() -> None:
    worker = LocalWorker([flows.order()])
    worker.client.submit("order", {"text": "tea"}, thread_id="shop:held")
    [known] = worker.client.workers()
    _, key = Keys(worker.client.store).create("elsewhere", ["read"], namespaces=["elsewhere"])
    browser = TestClient(create_app(worker.client))
    seen: list[str] = []

    def look() -> None:
        path = f"/workers/{known.worker_id}"
        seen.append(checked(browser.get(path).text).text)
        seen.append(checked(browser.get(path, headers={"Authorization": f"Bearer {key}"}).text).text)

    worker.at("node.before", look, node="read")
    worker.run_until_idle()
    assert "shop:held" in seen[0]
    assert "shop:held" not in seen[1]
    assert "Nothing at this moment" in seen[1]


def test_without_workers_it_says_how_to_start_one() -> None:
    worker = LocalWorker([flows.order()])
    worker.close()
    text = checked(TestClient(create_app(worker.client)).get("/workers").text).text
    assert "No worker is alive" in text
    assert "petiole worker --graphs" in text


def test_graphs_that_one_may_not_see_are_absent(scene: Scene) -> None:
    _, key = Keys(scene.client.store).create("one", ["read"], graphs=["order"])
    browser = TestClient(
        create_app(scene.client, authenticated=True), headers={"Authorization": f"Bearer {key}"}
    )
    text = checked(browser.get("/workers").text).text
    assert "order" in text
    assert "confirm" not in text

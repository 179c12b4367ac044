"""Schedules and the audit log: what they show, and what is done to a schedule."""

from __future__ import annotations

from fastapi.testclient import TestClient

from petiole.access.keys import Keys
from petiole.api.app import create_app
from petiole.testing import LocalWorker
from petiole_stores.items import NewItem
from petiole_workers.schedules.book import ROOT
from tests.unit.dashboard import flows
from tests.unit.dashboard.markup import checked


def test_a_schedule_is_shown_paused_and_triggered_and_that_is_audited() -> None:
    with LocalWorker([flows.order()]) as worker:
        browser = TestClient(create_app(worker.client), follow_redirects=False)
        assert "No schedules" in checked(browser.get("/schedules").text).text
        worker.client.create_schedule("nightly", "order", {"text": "tea"}, cron="0 3 * * *")
        page = checked(browser.get("/schedules").text)
        assert "0 3 * * *" in page.text
        assert "petiole schedule pause nightly" in page.text
        [kept] = worker.client.store.search_items((*ROOT, "nightly"))
        worker.client.store.put_items([NewItem((*ROOT, "odd"), kept.key, "[1]")])
        assert "petiole schedule delete odd" in checked(browser.get("/schedules").text).text
        worker.client.delete_schedule("odd")
        browser.post("/schedules/nightly", data={"action": "pause"})
        assert worker.client.get_schedule("nightly").paused
        answer = browser.post("/schedules/nightly", data={"action": "trigger"})
        [run] = worker.client.list_runs(tag="schedule:nightly")
        assert answer.headers["location"] == f"/runs/{run.run_id}"
        assert browser.post("/schedules/nightly", data={"action": "burn"}).status_code == 422
        text = checked(browser.get("/audit").text).text
        assert "schedule.pause" in text
        assert "schedule.trigger" in text
        assert "schedule.pause" not in checked(browser.get("/audit?action=schedule.trigger").text).text


def test_others_see_neither() -> None:
    with LocalWorker([flows.order()]) as worker:
        worker.client.create_schedule("nightly", "order", {}, every=60.0)
        _, key = Keys(worker.client.store).create("elsewhere", ["operate"], namespaces=["elsewhere"])
        app = create_app(worker.client, authenticated=True)
        browser = TestClient(app, headers={"Authorization": f"Bearer {key}"})
        assert "No schedules" in checked(browser.get("/schedules").text).text
        assert browser.post("/schedules/nightly", data={"action": "pause"}).status_code == 404
        assert browser.get("/audit").status_code == 403
